// Opens a WebSocket and an event stream through the gate, as a caller's program would, and prints a line for whatever
// happens. It makes its proofs (DPoP) by itself.
//
//   CLIENT_KEY=JWK node streams.mjs ENTRANCE TOKEN IK
import WebSocket from 'ws'
import * as DPoP from 'dpop'
import * as jose from 'jose'

const [entrance, token, insurer] = process.argv.slice(2)
const jwk = JSON.parse(process.env.CLIENT_KEY)
const privateKey = await jose.importJWK(jwk, 'ES256')
const publicKey = await jose.importJWK({ kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y }, 'ES256', { extractable: true })
let nonce // that the entrance asked for
const say = (what) => process.stdout.write(what + '\n')
const headers = async (path, withToken = true) => withToken
  ? { authorization: `DPoP ${token}`, dpop: await DPoP.generateProof({ privateKey, publicKey }, entrance + path, 'GET', nonce, token), 'x-insurer': insurer }
  : { 'x-insurer': insurer }

const open = (path, h) => new Promise((resolve) => {
  const ws = new WebSocket(entrance.replace('https:', 'wss:') + path, { headers: h, perMessageDeflate: false })
  ws.on('open', () => resolve({ ws }))
  ws.on('unexpected-response', (_, res) => { res.resume(); resolve({ status: res.statusCode, nonce: res.headers['dpop-nonce'] }) })
  ws.on('error', (err) => resolve({ status: String(err) }))
})

const stranger = await open('/fhir/$live', await headers('/fhir/$live', false))
say(`stranger ${stranger.status}`)
let { ws, status, nonce: asked } = await open('/fhir/$live', await headers('/fhir/$live'))
if (!ws && asked) {
  nonce = asked;
  ({ ws, status } = await open('/fhir/$live', await headers('/fhir/$live')))
}
if (!ws) {
  say(`websocket refused ${status}`)
  process.exit(1)
}
let echoed = 0
const big = 'x'.repeat(100000)
ws.on('message', (data) => {
  echoed += data.length
  if (echoed === 5 + big.length) say(`websocket echoed ${echoed}`)
})
const closed = new Promise((resolve) => ws.on('close', () => resolve(say('websocket closed'))))
ws.on('error', () => {})
ws.send('hello')
ws.send(big)

const listen = async () => fetch(entrance + '/fhir/$events', { headers: { ...(await headers('/fhir/$events')), accept: 'text/event-stream' } })
let res = await listen()
if (res.status === 401 && res.headers.get('dpop-nonce')) {
  nonce = res.headers.get('dpop-nonce')
  res = await listen()
}
setTimeout(() => process.exit(1), 60000).unref()
say(`events ${res.status} ${res.headers.get('content-type')}`)
let seen = 0
try {
  const text = new TextDecoder()
  for await (const chunk of res.body) {
    seen += (text.decode(chunk).match(/^data:/gm) ?? []).length
    if (seen >= 3 && !globalThis.told) {
      globalThis.told = true
      say('events came')
    }
  }
  say('events ended')
  process.exit(1)
} catch {
  say('events cut')
}
await closed
process.exit(0)
