// Holds playbooks against the published CACAO 2.0 JSON schemas with ajv, and their signatures against JSS (ITU-T X.590) with
// @cyclonedx/sign. It reads one JSON value {schemas: [...], cases: [{name, playbook}], sign: {playbook, key, metadata}} on
// standard input and prints {answers: [{name, draft7: [...], strict: [...], signatures: [...]}], signed: {...}}.
//
// The schemas declare draft-07 and use unevaluatedProperties, which only later drafts know. So each playbook is judged twice: as
// draft-07, where that word says nothing, and as draft 2019-09, where unknown properties are faults. For the second one thing is
// left out and nothing else: the unevaluatedProperties of command-data itself, which would forbid every command its own properties.
// Instead each command is held against the schema of its type, too.
import Ajv from 'ajv'
import Ajv2019 from 'ajv/dist/2019.js'
import { sign, verify } from '@cyclonedx/sign/jss'

const text = []
for await (const chunk of process.stdin) text.push(chunk)
const input = JSON.parse(Buffer.concat(text).toString())

const root = 'https://raw.githubusercontent.com/oasis-open/cacao-json-schemas/main/schemas/'
const clone = (v) => JSON.parse(JSON.stringify(v))

function judge(Kind, later) {
  const ajv = new Kind({ strict: false, allErrors: true })
  for (let schema of input.schemas) {
    if (later) {
      schema = clone(schema)
      delete schema.$schema
      if (schema.$id === root + 'commands/command-data.json') delete schema.unevaluatedProperties
    }
    ajv.addSchema(schema)
  }
  const said = (id, value, where) => {
    const check = ajv.getSchema(root + id)
    if (!check) return [`${where}: there is no schema ${id}`]
    return check(value) ? [] : check.errors.map((e) => `${where}${e.instancePath}: ${e.message} ${JSON.stringify(e.params)}`)
  }
  return (playbook) => {
    const commands = Object.entries(playbook.workflow ?? {}).flatMap(([id, step]) => (step.commands ?? []).map((c) => [id, c]))
    return [...said('playbook.json', playbook, ''), ...commands.flatMap(([id, c]) => said(`commands/${c.type}.json`, c, id))]
  }
}

const draft7 = judge(Ajv, false)
const strict = judge(Ajv2019, true)

async function signatures(playbook) {
  if (!playbook.signatures) return []
  try {
    const result = await verify(playbook, { allowedAlgorithms: ['Ed25519'], allowedHashAlgorithms: ['sha-256'], requireEmbeddedKeyMaterial: true })
    return result.signers.map((s) => s.valid)
  } catch (err) {
    return playbook.signatures.map(() => false)
  }
}

const answers = []
for (const { name, playbook } of input.cases) {
  answers.push({ name, draft7: draft7(playbook), strict: strict(playbook), signatures: await signatures(playbook) })
}
const { playbook, key, metadata } = input.sign
const signed = await sign(playbook, { signer: { algorithm: 'Ed25519', hash_algorithm: 'sha-256', privateKey: key, public_key: 'auto', metadata } })
process.stdout.write(JSON.stringify({ answers, signed }))
