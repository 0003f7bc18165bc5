// What every program made of other people's parts does first: it finds the issuer of tokens, registers there and gets an
// access token that is bound to its key. Then it asks with proofs of that key.
import * as oauth from 'oauth4webapi'
import * as DPoP from 'dpop'
import * as jose from 'jose'

export const plain = { [oauth.allowInsecureRequests]: true } // the issuer is on loopback

// discover: what the entrance says of itself leads to the issuer (RFC 9728), the issuer to its endpoints (RFC 8414).
export async function discover (entrance, issuerName) {
  const resource = await oauth.resourceDiscoveryRequest(new URL(entrance))
    .then((r) => oauth.processResourceDiscoveryResponse(new URL(entrance), r))
  const as = await oauth.discoveryRequest(new URL(issuerName), { algorithm: 'oauth2', ...plain })
    .then((r) => oauth.processDiscoveryResponse(new URL(issuerName), r))
  return { resource, as }
}

// register (RFC 7591) as the holder of a key, for somebody in whose name the development issuer makes tokens.
export async function register (as, keys, holder) {
  const r = await fetch(as.registration_endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      client_name: 'foreign', token_endpoint_auth_method: 'private_key_jwt', grant_types: ['client_credentials'],
      jwks: { keys: [{ ...(await jose.exportJWK(keys.publicKey)), kid: 'k1', alg: 'ES256' }] },
      querschott_practice: holder,
    }),
  })
  if (r.status !== 201) throw new Error(`registration: ${r.status} ${await r.text()}`)
  return { client_id: (await r.json()).client_id }
}

// granter asks for a token by private_key_jwt (RFC 7523) and client_credentials, bound to a key (RFC 9449).
export function granter (as, client, clientKeys, dpopKeys, scope, resource) {
  const handle = oauth.DPoP(client, dpopKeys)
  return (more) => oauth.clientCredentialsGrantRequest(
    as, client, oauth.PrivateKeyJwt({ key: clientKeys.privateKey, kid: 'k1' }),
    new URLSearchParams({ scope, resource }), { DPoP: handle, ...plain, ...more })
}

// asker sends JSON to the desk with a proof of its own for each request, and reports what came back. Where the entrance
// wants its nonce in the proof, it asks once more.
export function asker (out, token, keyPair, mark) {
  let nonce
  return async (name, url, body, { method = 'POST', scheme = 'DPoP', access = token, keys = keyPair, proof, aim = url.split('?')[0], hash = access, htm = method, type = 'application/json' } = {}) => {
    const send = async () => {
      const p = proof ?? await DPoP.generateProof(keys, aim, htm, nonce, hash)
      const headers = { authorization: `${scheme} ${access}`, dpop: p, 'content-type': type }
      const r = await fetch(url, { method, headers, body: method === 'POST' ? (typeof body === 'string' ? body : JSON.stringify(body)) : undefined })
      return { r, p, text: await r.text() }
    }
    let { r, p, text } = await send()
    const fresh = r.headers.get('dpop-nonce')
    if (r.status === 401 && fresh && fresh !== nonce && !proof && ((r.headers.get('www-authenticate') ?? '') + text).includes('use_dpop_nonce')) {
      nonce = fresh
      ;({ r, p, text } = await send())
    }
    const a = {
      status: r.status, requestId: r.headers.get('x-request-id'), authenticate: r.headers.get('www-authenticate'), retryAfter: r.headers.get('retry-after'),
      cache: r.headers.get('cache-control'), body: text, namesPerson: mark.some((m) => text.includes(m)),
    }
    out[name] = a
    return { ...a, proof: p }
  }
}
