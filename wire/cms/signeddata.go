package cms

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds on what one document may make the verifier do.
const (
	maxCertificates = 64
	maxSigners      = 16
	maxAttributes   = 64
)

// SignedData is what a CMS SignedData holds (RFC 5652 section 5.1).
type SignedData struct {
	ContentType  asn1.ObjectIdentifier // of the content; id-data for documents and mails
	Content      []byte                // the signed octets, in one piece; nil if they are not inside
	Certificates []Certificate
	Revocations  [][]byte // DER of the embedded CRLs and OCSP responses
	SignerInfos  []SignerInfo
}

// Certificate is an embedded certificate. The fields are read by this package, so that certificates that crypto/x509
// refuses (keys on brainpool curves) can be named too; they are empty if the certificate cannot be read at all.
type Certificate struct {
	Raw       []byte
	Parsed    *x509.Certificate // nil if crypto/x509 cannot read it
	Issuer    []byte            // DER of the Name: compare octets, never strings
	Subject   []byte            // DER of the Name
	Serial    *big.Int
	NotBefore time.Time
	NotAfter  time.Time
	KeyID     []byte // subjectKeyIdentifier, nil if there is none

	publicKey []byte // DER of SubjectPublicKeyInfo
}

// Attribute is one signed or unsigned attribute with the DER of its values.
type Attribute struct {
	Type   asn1.ObjectIdentifier
	Values [][]byte
}

// SignerInfo is one signature (RFC 5652 section 5.3).
type SignerInfo struct {
	Issuer []byte // DER of the Name; nil if the signer is named by KeyID
	Serial *big.Int
	KeyID  []byte

	DigestAlgorithm    asn1.ObjectIdentifier
	SignatureAlgorithm asn1.ObjectIdentifier
	Signature          []byte
	SigningTime        time.Time // what the signer claims; zero if missing or unreadable
	SignedAttributes   []Attribute
	UnsignedAttributes []Attribute

	digestAlgorithm    []byte // DER of the AlgorithmIdentifier
	signatureAlgorithm []byte
	signed             []byte // contents of signedAttrs as received; nil if there are none
}

// Attribute returns the first value of a signed attribute, nil if it is missing.
func (s *SignerInfo) Attribute(oid asn1.ObjectIdentifier) []byte {
	for _, a := range s.SignedAttributes {
		if a.Type.Equal(oid) && len(a.Values) > 0 {
			return a.Values[0]
		}
	}
	return nil
}

// Parse reads a SignedData in DER or BER. The result does not alias octets.
func Parse(octets []byte) (*SignedData, error) {
	der, err := Normalise(octets)
	if err != nil {
		return nil, err
	}
	input := cryptobyte.String(der)
	var info, body cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !input.ReadASN1(&info, casn1.SEQUENCE) || !info.ReadASN1ObjectIdentifier(&oid) {
		return nil, fail(Format, "no ContentInfo")
	}
	if !oid.Equal(oidSignedData) {
		return nil, &Error{Problem: Format, Signer: -1, OID: oid, Detail: "the content is no SignedData but"}
	}
	var version int64
	var digests, sd cryptobyte.String
	if !info.ReadASN1(&body, tagContext(0)) || !info.Empty() ||
		!body.ReadASN1(&sd, casn1.SEQUENCE) || !body.Empty() ||
		!sd.ReadASN1Integer(&version) || !sd.ReadASN1(&digests, casn1.SET) {
		return nil, fail(Format, "no SignedData")
	}
	s := new(SignedData)
	if err := s.readContent(&sd); err != nil {
		return nil, err
	}
	if err := s.readCertificates(&sd); err != nil {
		return nil, err
	}
	if err := s.readSigners(&sd); err != nil {
		return nil, err
	}
	if !sd.Empty() {
		return nil, fail(Format, "octets after the signatures")
	}
	return s, nil
}

func tagContext(n uint8) casn1.Tag { return casn1.Tag(n).Constructed().ContextSpecific() }

func (s *SignedData) readContent(sd *cryptobyte.String) error {
	var encap, wrapped, content cryptobyte.String
	var present bool
	if !sd.ReadASN1(&encap, casn1.SEQUENCE) || !encap.ReadASN1ObjectIdentifier(&s.ContentType) ||
		!encap.ReadOptionalASN1(&wrapped, &present, tagContext(0)) || !encap.Empty() {
		return fail(Format, "no encapContentInfo")
	}
	if !present {
		return nil
	}
	if !wrapped.ReadASN1(&content, casn1.OCTET_STRING) || !wrapped.Empty() {
		return fail(Format, "the content is no OCTET STRING")
	}
	s.Content = bytes.Clone(content)
	if s.Content == nil {
		s.Content = []byte{} // an empty content is not a missing one
	}
	return nil
}

func (s *SignedData) readCertificates(sd *cryptobyte.String) error {
	var certs, crls cryptobyte.String
	if !sd.ReadOptionalASN1(&certs, nil, tagContext(0)) || !sd.ReadOptionalASN1(&crls, nil, tagContext(1)) {
		return fail(Format, "no certificates")
	}
	for !certs.Empty() {
		var raw cryptobyte.String
		var tag casn1.Tag
		if !certs.ReadAnyASN1Element(&raw, &tag) {
			return fail(Format, "a broken certificate list")
		}
		if tag != casn1.SEQUENCE {
			continue // attribute certificates and the obsolete forms name no signer
		}
		if len(s.Certificates) == maxCertificates {
			return fail(Limit, "more than %d certificates", maxCertificates)
		}
		s.Certificates = append(s.Certificates, parseCertificate(bytes.Clone(raw)))
	}
	for !crls.Empty() {
		var raw cryptobyte.String
		var tag casn1.Tag
		if !crls.ReadAnyASN1Element(&raw, &tag) {
			return fail(Format, "a broken revocation list")
		}
		if len(s.Revocations) == maxCertificates {
			return fail(Limit, "more than %d revocation entries", maxCertificates)
		}
		s.Revocations = append(s.Revocations, bytes.Clone(raw))
	}
	return nil
}

// parseCertificate reads the fields of TBSCertificate (RFC 5280 4.1) that name a signer and his key. A certificate that
// cannot be read keeps its octets only: it may belong to nobody who signed.
func parseCertificate(raw []byte) Certificate {
	c := Certificate{Raw: raw, Serial: new(big.Int)}
	input := cryptobyte.String(raw)
	var cert, tbs, validity, issuer, subject, key cryptobyte.String
	if !input.ReadASN1(&cert, casn1.SEQUENCE) || !cert.ReadASN1(&tbs, casn1.SEQUENCE) ||
		!tbs.SkipOptionalASN1(tagContext(0)) || !tbs.ReadASN1Integer(c.Serial) || !tbs.SkipASN1(casn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, casn1.SEQUENCE) || !tbs.ReadASN1(&validity, casn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&subject, casn1.SEQUENCE) || !tbs.ReadASN1Element(&key, casn1.SEQUENCE) ||
		!readTime(&validity, &c.NotBefore) || !readTime(&validity, &c.NotAfter) {
		return Certificate{Raw: raw, Serial: new(big.Int)}
	}
	c.Issuer, c.Subject, c.publicKey = issuer, subject, key
	if p, err := x509.ParseCertificate(raw); err == nil {
		c.Parsed, c.KeyID = p, p.SubjectKeyId
		return c
	}
	c.KeyID = subjectKeyID(tbs)
	return c
}

// subjectKeyID looks for the extension in what follows the key of a TBSCertificate.
func subjectKeyID(tbs cryptobyte.String) []byte {
	var outer, list cryptobyte.String
	if !tbs.SkipOptionalASN1(casn1.Tag(1).ContextSpecific()) || !tbs.SkipOptionalASN1(casn1.Tag(2).ContextSpecific()) ||
		!tbs.ReadASN1(&outer, tagContext(3)) || !outer.ReadASN1(&list, casn1.SEQUENCE) {
		return nil
	}
	for !list.Empty() {
		var ext, value, id cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !list.ReadASN1(&ext, casn1.SEQUENCE) || !ext.ReadASN1ObjectIdentifier(&oid) ||
			!ext.SkipOptionalASN1(casn1.BOOLEAN) || !ext.ReadASN1(&value, casn1.OCTET_STRING) {
			return nil
		}
		if oid.Equal(asn1.ObjectIdentifier{2, 5, 29, 14}) && value.ReadASN1(&id, casn1.OCTET_STRING) {
			return id
		}
	}
	return nil
}

// readTime reads a Time of RFC 5652 11.3 and RFC 5280 4.1.2.5.
func readTime(s *cryptobyte.String, t *time.Time) bool {
	if s.PeekASN1Tag(casn1.UTCTime) {
		return s.ReadASN1UTCTime(t)
	}
	return s.ReadASN1GeneralizedTime(t)
}

func (s *SignedData) readSigners(sd *cryptobyte.String) error {
	var signers cryptobyte.String
	if !sd.ReadASN1(&signers, casn1.SET) {
		return fail(Format, "no signerInfos")
	}
	for !signers.Empty() {
		if len(s.SignerInfos) == maxSigners {
			return fail(Limit, "more than %d signatures", maxSigners)
		}
		var si cryptobyte.String
		if !signers.ReadASN1(&si, casn1.SEQUENCE) {
			return fail(Format, "a broken list of signerInfos")
		}
		info, err := parseSigner(si)
		if err != nil {
			err.Signer = len(s.SignerInfos)
			return err
		}
		s.SignerInfos = append(s.SignerInfos, info)
	}
	return nil
}

func parseSigner(si cryptobyte.String) (SignerInfo, *Error) {
	var s SignerInfo
	var version int64
	if !si.ReadASN1Integer(&version) || !s.readIdentifier(&si) {
		return s, fail(Format, "a signature without a signer")
	}
	var digest, algorithm, signature, signed, unsigned cryptobyte.String
	var hasSigned bool
	if !si.ReadASN1Element(&digest, casn1.SEQUENCE) ||
		!si.ReadOptionalASN1(&signed, &hasSigned, tagContext(0)) ||
		!si.ReadASN1Element(&algorithm, casn1.SEQUENCE) ||
		!si.ReadASN1(&signature, casn1.OCTET_STRING) ||
		!si.ReadOptionalASN1(&unsigned, nil, tagContext(1)) || !si.Empty() {
		return s, fail(Format, "a broken signature")
	}
	var ok1, ok2 bool
	s.DigestAlgorithm, _, ok1 = algorithmIdentifier(digest)
	s.SignatureAlgorithm, _, ok2 = algorithmIdentifier(algorithm)
	if !ok1 || !ok2 {
		return s, fail(Format, "a broken algorithm identifier")
	}
	s.digestAlgorithm, s.signatureAlgorithm = bytes.Clone(digest), bytes.Clone(algorithm)
	s.Signature = bytes.Clone(signature)
	var err *Error
	if hasSigned {
		s.signed = bytes.Clone(signed)
		if s.SignedAttributes, err = attributes(s.signed); err != nil {
			return s, err
		}
		if t := cryptobyte.String(s.Attribute(oidSigningTime)); !readTime(&t, &s.SigningTime) {
			s.SigningTime = time.Time{}
		}
	}
	if s.UnsignedAttributes, err = attributes(bytes.Clone(unsigned)); err != nil {
		return s, err
	}
	return s, nil
}

func (s *SignerInfo) readIdentifier(si *cryptobyte.String) bool {
	byKey := casn1.Tag(0).ContextSpecific()
	if si.PeekASN1Tag(byKey) {
		var id cryptobyte.String
		ok := si.ReadASN1(&id, byKey)
		s.KeyID = bytes.Clone(id)
		return ok
	}
	var sid, issuer cryptobyte.String
	s.Serial = new(big.Int)
	ok := si.ReadASN1(&sid, casn1.SEQUENCE) && sid.ReadASN1Element(&issuer, casn1.SEQUENCE) && sid.ReadASN1Integer(s.Serial)
	s.Issuer = bytes.Clone(issuer)
	return ok
}

func attributes(set cryptobyte.String) ([]Attribute, *Error) {
	var out []Attribute
	for !set.Empty() {
		if len(out) == maxAttributes {
			return nil, fail(Limit, "more than %d attributes", maxAttributes)
		}
		var a Attribute
		var seq, values cryptobyte.String
		if !set.ReadASN1(&seq, casn1.SEQUENCE) || !seq.ReadASN1ObjectIdentifier(&a.Type) || !seq.ReadASN1(&values, casn1.SET) {
			return nil, fail(Format, "a broken attribute")
		}
		for !values.Empty() {
			var v cryptobyte.String
			var tag casn1.Tag
			if !values.ReadAnyASN1Element(&v, &tag) {
				return nil, fail(Format, "a broken attribute value")
			}
			a.Values = append(a.Values, v)
		}
		out = append(out, a)
	}
	return out, nil
}

// algorithmIdentifier splits the DER of an AlgorithmIdentifier into its name and its parameters, nil if absent.
func algorithmIdentifier(der cryptobyte.String) (asn1.ObjectIdentifier, []byte, bool) {
	var seq cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !der.ReadASN1(&seq, casn1.SEQUENCE) || !seq.ReadASN1ObjectIdentifier(&oid) {
		return nil, nil, false
	}
	return oid, seq, true
}
