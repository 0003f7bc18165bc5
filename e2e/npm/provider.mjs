// An insurer's own OpenID provider, and an employee who logs in there by the authorization code flow with PKCE and gets an access
// token that is bound to his key. With it he asks the desk. The provider is oidc-provider, the client oauth4webapi and dpop.
//
//   node provider.mjs ENTRANCE IK
//
// It prints the provider's name on a line of its own, waits for what shall be asked on standard input, and prints what was
// answered as one JSON value; the test that started it judges.
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import { Provider } from 'oidc-provider'
import * as oauth from 'oauth4webapi'
import * as jose from 'jose'
import { asker, plain } from './entrance.mjs'

console.info = console.error // what the provider has to say is no part of the report
const [entrance, ik] = process.argv.slice(2)
const people = {
  'c.mueller': { organization_name: ik, profession_oid: '1.2.276.0.76.4.59', acr: 'gematik-ehealth-loa-substantial' },
  'without.second.factor': { organization_name: ik, profession_oid: '1.2.276.0.76.4.59' },
  'elsewhere': { organization_name: '101575519', profession_oid: '1.2.276.0.76.4.59', acr: 'gematik-ehealth-loa-substantial' },
  '1-2PRACTICE': { profession_oid: '1.2.276.0.76.4.50', acr: 'gematik-ehealth-loa-substantial' },
}
const server = createServer()
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`
const redirect = 'https://workplace.example/cb' // nobody goes there: the code is read from the address
const signing = await jose.exportJWK((await jose.generateKeyPair('ES256', { extractable: true })).privateKey)

let who // logs in next: whom the test means, without a page that asks
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'workplace', token_endpoint_auth_method: 'none', redirect_uris: [redirect], grant_types: ['authorization_code'],
    response_types: ['code'], id_token_signed_response_alg: 'ES256',
  }],
  jwks: { keys: [{ ...signing, kid: 'kasse-1', alg: 'ES256', use: 'sig' }] },
  cookies: { keys: ['only for this test'] },
  features: {
    devInteractions: { enabled: false },
    dPoP: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'desk', audience: entrance, accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'ES256' } } }),
    },
  },
  extraTokenClaims: (_, token) => people[token.accountId],
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId })
    grant.addOIDCScope('openid')
    grant.addResourceScope(entrance, 'desk')
    await grant.save()
    return grant
  },
})
const answer = provider.callback()
server.on('request', (req, res) => {
  if (!req.url.startsWith('/interaction/')) return answer(req, res)
  return provider.interactionFinished(req, res, { login: { accountId: who } })
})
process.stdout.write(issuer + '\n')
const { person } = JSON.parse(await text(process.stdin))
const out = {}

const as = await oauth.discoveryRequest(new URL(issuer), { algorithm: 'oauth2', ...plain })
  .then((r) => oauth.processDiscoveryResponse(new URL(issuer), r))
const client = { client_id: 'workplace' }

// browse follows the provider's redirects as a browser does, with its cookies, to the client's own address.
async function browse (url) {
  const cookies = new Map()
  while (!url.startsWith(redirect)) {
    const r = await fetch(url, { redirect: 'manual', headers: { cookie: [...cookies].map(([k, v]) => `${k}=${v}`).join('; ') } })
    for (const c of r.headers.getSetCookie()) {
      const [pair] = c.split(';')
      cookies.set(pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1))
    }
    if (!r.headers.get('location')) throw new Error(`${r.status} ${await r.text()}`)
    url = new URL(r.headers.get('location'), url).href
  }
  return new URL(url)
}

async function login (name) {
  who = name
  const keys = await oauth.generateKeyPair('ES256')
  const verifier = oauth.generateRandomCodeVerifier()
  const url = new URL(as.authorization_endpoint)
  for (const [k, v] of Object.entries({
    client_id: 'workplace', redirect_uri: redirect, response_type: 'code', scope: 'openid desk', resource: entrance, state: 'state',
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  })) url.searchParams.set(k, v)
  const params = oauth.validateAuthResponse(as, client, await browse(url.href), 'state')
  const r = await oauth.authorizationCodeGrantRequest(as, client, oauth.None(), params, redirect, verifier,
    { DPoP: oauth.DPoP(client, keys), additionalParameters: { resource: entrance }, ...plain })
  const granted = await oauth.processAuthorizationCodeResponse(as, client, r)
  return { granted, keys }
}

for (const name of Object.keys(people)) {
  const { granted, keys } = await login(name)
  const ask = asker(out, granted.access_token, keys, [person.number, person.family])
  const at = `${entrance}/desk/v1/person/${ik}`
  const body = { reason: 'case:VG-2026-0815', person: person.number }
  await ask(name, at, body)
  if (name !== 'c.mueller') continue
  await ask('idToken', at, body, { access: granted.id_token, hash: granted.id_token })
  await ask('bearer', at, body, { scheme: 'Bearer' })
  await ask('foreignKey', at, body, { keys: await oauth.generateKeyPair('ES256') })
  await ask('cards', `${entrance}/vsdservice/v1/vsdmbundle`, undefined, { method: 'GET' })
}
process.stdout.write(JSON.stringify(out) + '\n')
process.exit(0)
