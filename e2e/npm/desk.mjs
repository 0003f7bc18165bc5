// An insurer's workplace made of other people's parts: oauth4webapi gets an employee's access token, dpop proves the key. It
// looks a person up, reads master data and sick notes, and then does everything that it must not. It prints what it was
// answered as one JSON value; the test that started it judges. What it needs comes on standard input: no list of processes
// shows a person's number.
import * as oauth from 'oauth4webapi'
import { text } from 'node:stream/consumers'
import { asker, discover, granter, register } from './entrance.mjs'

const { entrance, issuer, ik, other, person, stranger, crowd } = JSON.parse(await text(process.stdin))
const { as } = await discover(entrance, issuer)
const out = {}

const employee = async (name, scope = 'desk', profession = '1.2.276.0.76.4.59') => {
  const [clientKeys, dpopKeys] = [await oauth.generateKeyPair('ES256'), await oauth.generateKeyPair('ES256')]
  const client = await register(as, clientKeys, { subject: name, organization_name: ik, profession_oid: profession })
  const granted = await oauth.processClientCredentialsResponse(as, client,
    await granter(as, client, clientKeys, dpopKeys, scope, entrance)())
  return { access: granted.access_token, ask: asker(out, granted.access_token, dpopKeys, [person.number, person.family, stranger]) }
}
const at = (operation, insurer = ik) => `${entrance}/desk/v1/${operation}/${insurer}`
const reason = 'case:VG-2026-0815'

// The day's work.
const { access, ask } = await employee('e.foreign')
await ask('search', at('search'), { reason, family: person.family, born: person.born, given: person.given })
const read = await ask('person', at('person'), { reason: 'call:2026-11-29-0017', person: person.number })
const list = await ask('notes', at('sick-notes'), { reason, person: person.number })
const note = JSON.parse(list.body).notes?.[0]?.note
await ask('note', at('sick-note'), { reason, person: person.number, note })

// What must not be.
await ask('withoutReason', at('person'), { person: person.number })
await ask('story', at('person'), { reason: 'because he asked', person: person.number })
await ask('inTheAddress', at('person') + '?person=' + person.number, { reason, person: person.number })
await ask('byGet', at('person'), undefined, { method: 'GET' })
await ask('asForm', at('person'), `reason=${reason}&person=${person.number}`, { type: 'application/x-www-form-urlencoded' })
await ask('oversize', at('person'), { reason, person: person.number, more: 'x'.repeat(5000) })
await ask('strangersNumber', at('person'), { reason, person: stranger })
await ask('replayed', at('person'), { reason, person: person.number }, { proof: read.proof })
await ask('foreignKey', at('person'), { reason, person: person.number }, { keys: await oauth.generateKeyPair('ES256') })
await ask('wrongTarget', at('person'), { reason, person: person.number }, { aim: at('search') })
await ask('wrongMethod', at('person'), { reason, person: person.number }, { htm: 'GET' })
await ask('wrongHash', at('person'), { reason, person: person.number }, { hash: access + 'x' })
await ask('bearer', at('person'), { reason, person: person.number }, { scheme: 'Bearer' })
await ask('forged', at('person'), { reason, person: person.number },
  { access: access.slice(0, -6) + (access.endsWith('AAAAAA') ? 'BBBBBB' : 'AAAAAA') })
const card = await employee('e.card', 'vsdservice')
await card.ask('wrongScope', at('person'), { reason, person: person.number })
const practice = await employee('1-2FOREIGN', 'desk', '1.2.276.0.76.4.50')
await practice.ask('practice', at('person'), { reason, person: person.number })

// Another employee looks at more persons than anybody may in a minute, one after the other.
const curious = await employee('e.curious')
out.served = 0
for (const number of crowd) {
  const a = await curious.ask('overTheCap', at('person'), { reason, person: number })
  if (a.status === 429) break
  if (a.status === 200) out.served++
}
const guest = await employee('e.guest')
await guest.ask('foreignInsurer', at('person', other), { reason, person: stranger })
process.stdout.write(JSON.stringify(out) + '\n')
process.exit(0)
