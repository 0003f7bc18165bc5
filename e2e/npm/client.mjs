// A practice's program made of other people's parts: oauth4webapi gets the access token, dpop proves the key, jose reads
// the issuer's keys. It prints what it was answered as one JSON value; the test that started it judges.
//
//   node client.mjs ENTRANCE ISSUER IK KVNR TELEMATIK-ID
import * as oauth from 'oauth4webapi'
import * as DPoP from 'dpop'
import * as jose from 'jose'
import { discover, granter, register } from './entrance.mjs'

const [entrance, issuerName, ik, kvnr, actor] = process.argv.slice(2)
const resource = entrance + '/vsdservice/v1/vsdmbundle'
const out = {}

const { resource: protectedResource, as } = await discover(entrance, issuerName)
out.resource = protectedResource.resource
out.authorizationServers = protectedResource.authorization_servers

const clientKeys = await oauth.generateKeyPair('ES256')
const client = await register(as, clientKeys, { subject: actor })
const dpopKeys = await oauth.generateKeyPair('ES256')
const grant = granter(as, client, clientKeys, dpopKeys, 'vsdservice', entrance)
// The first proof has a nonce that is nobody's, as that of an issuer that was started anew meanwhile.
const stale = async (url, init) => {
  const headers = new Headers(init.headers)
  headers.set('dpop', await DPoP.generateProof(dpopKeys, as.token_endpoint, 'POST', 'stale'))
  return fetch(url, { ...init, headers })
}
let granted
try {
  await oauth.processClientCredentialsResponse(as, client, await grant({ [oauth.customFetch]: stale }))
  out.nonceRetry = false
} catch (err) {
  if (!oauth.isDPoPNonceError(err)) throw err
  granted = await oauth.processClientCredentialsResponse(as, client, await grant())
  out.nonceRetry = true
}
out.tokenType = granted.token_type
const access = granted.access_token

// The token verifies with the published keys, by other people's code.
const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri))
const verified = await jose.jwtVerify(access, keys, { issuer: issuerName, audience: entrance, algorithms: ['ES256'] })
out.claims = { typ: verified.protectedHeader.typ, sub: verified.payload.sub, scope: verified.payload.scope }
out.bound = verified.payload.cnf.jkt === await jose.calculateJwkThumbprint(await jose.exportJWK(dpopKeys.publicKey))
try {
  const other = new URL(as.jwks_uri)
  await jose.jwtVerify(access.slice(0, -6) + (access.endsWith('AAAAAA') ? 'BBBBBB' : 'AAAAAA'), jose.createRemoteJWKSet(other))
  out.forgedVerifies = true
} catch {
  out.forgedVerifies = false
}

const popp = async (body) => {
  const r = await fetch(issuerName + '/popp/token', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) })
  if (!r.ok) throw new Error(`popp: ${r.status} ${await r.text()}`)
  return (await r.json()).popp_token
}
const presence = await popp({ patientId: kvnr, insurerId: ik, actorId: actor })
const entity = await fetch(issuerName + '/.well-known/openid-federation').then((r) => r.text())
const entityKeys = jose.createLocalJWKSet(jose.decodeJwt(entity).jwks)
const statement = await jose.jwtVerify(entity, entityKeys, { issuer: issuerName })
const signedURI = statement.payload.metadata.oauth_resource.signed_jwks_uri
const signed = await jose.jwtVerify(await fetch(signedURI).then((r) => r.text()), entityKeys, { issuer: issuerName })
const shown = await jose.jwtVerify(presence, jose.createLocalJWKSet({ keys: signed.payload.keys }), { issuer: issuerName })
out.presence = { actorId: shown.payload.actorId, insurerId: shown.payload.insurerId, patientIsAsked: shown.payload.patientId === kvnr }

const call = async (name, { token = access, proof, popp = presence, tag = '0', accept = 'application/fhir+json', version = '1.0', scheme = 'DPoP', keyPair = dpopKeys, nonce, url = resource, method = 'GET' } = {}) => {
  const send = async (n) => {
    const p = proof ?? await DPoP.generateProof(keyPair, url, method, n, token)
    const headers = { authorization: `${scheme} ${token}`, dpop: p, 'if-none-match': tag, accept }
    if (popp) headers.popp = popp
    const r = await fetch(`${url}?profileVersion=${version}`, { method, headers })
    const body = await r.text()
    return { r, body, p }
  }
  let { r, body, p } = await send(nonce)
  let retried = false
  const fresh = r.headers.get('dpop-nonce')
  if (r.status === 401 && fresh && nonce === undefined && /use_dpop_nonce/.test((r.headers.get('www-authenticate') ?? '') + body) && !proof) {
    ({ r, body, p } = await send(fresh))
    retried = true
  }
  out[name] = {
    status: r.status, etag: r.headers.get('etag'), pz: r.headers.get('vsdm-pz'), type: r.headers.get('content-type'), requestId: r.headers.get('x-request-id'),
    authenticate: r.headers.get('www-authenticate'), body, retried, namesPerson: body.includes(kvnr),
  }
  return { ...out[name], proof: p }
}

const first = await call('first')
await call('unchanged', { tag: first.etag })
await call('xml', { accept: 'application/fhir+xml', version: '1.1' })
await call('replayed', { proof: first.proof })
const foreign = await oauth.generateKeyPair('ES256')
await call('foreignKey', { keyPair: foreign })
await call('wrongMethod', { proof: await DPoP.generateProof(dpopKeys, resource, 'POST', undefined, access) })
await call('wrongTarget', { proof: await DPoP.generateProof(dpopKeys, entrance + '/vsdservice/v1/other', 'GET', undefined, access) })
await call('wrongHash', { proof: await DPoP.generateProof(dpopKeys, resource, 'GET', undefined, access + 'x') })
await call('bearer', { scheme: 'Bearer' })
await call('forged', { token: access.slice(0, -6) + (access.endsWith('AAAAAA') ? 'BBBBBB' : 'AAAAAA') })
await call('unsigned', { token: `${btoa('{"alg":"none","typ":"at+jwt"}').replaceAll('=', '')}.${access.split('.')[1]}.` })
await call('foreignActor', { popp: await popp({ patientId: kvnr, insurerId: ik, actorId: '1-2FOREIGN' }) })
await call('withoutPresence', { popp: null })

// The test revokes the practice between the two lines; what it says on standard input lets the client go on.
process.stdout.write('ready for revocation\n')
await new Promise((resolve) => process.stdin.once('data', resolve))
await call('revoked')
process.stdout.write(JSON.stringify(out) + '\n')
process.exit(0)
