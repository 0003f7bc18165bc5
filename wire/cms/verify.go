package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Signer is one verified signature.
type Signer struct {
	Info        *SignerInfo
	Certificate *Certificate
}

// Verify verifies every signature over the content inside and returns the signers. All must be right and there must be
// one. The certificates are used for their keys only; their trust, time and revocation are not judged.
func (s *SignedData) Verify() ([]Signer, error) {
	if s.Content == nil {
		return nil, fail(NoContent, "the signed octets are not inside")
	}
	if len(s.SignerInfos) == 0 {
		return nil, fail(NoSignature, "there is no signature")
	}
	digest := sha256.Sum256(s.Content)
	out := make([]Signer, 0, len(s.SignerInfos))
	for i := range s.SignerInfos {
		c, err := s.verify(&s.SignerInfos[i], digest[:])
		if err != nil {
			err.Signer = i
			return nil, err
		}
		out = append(out, Signer{&s.SignerInfos[i], c})
	}
	return out, nil
}

func (s *SignedData) verify(si *SignerInfo, digest []byte) (*Certificate, *Error) {
	if !si.DigestAlgorithm.Equal(oidSHA256) {
		return nil, unsupported(si.DigestAlgorithm, "digest algorithm")
	}
	c := s.certificateOf(si)
	if c == nil {
		return nil, fail(NoCertificate, "the signer's certificate is not inside")
	}
	if si.signed == nil {
		if !s.ContentType.Equal(oidData) { // RFC 5652 5.3
			return nil, fail(AttributeMismatch, "signed attributes are required for this type of content")
		}
		return c, c.check(si, digest)
	}
	if err := s.checkAttributes(si, c, digest); err != nil {
		return nil, err
	}
	signed := sha256.Sum256(setOf(si.signed, true))
	err := c.check(si, signed[:])
	if err != nil && err.Problem == SignatureMismatch {
		// RFC 5652 5.4 asks for the signature over the DER, which sorts a SET OF. Some signers sign the order they send;
		// the same attributes are authenticated either way.
		asSent := sha256.Sum256(setOf(si.signed, false))
		if asSent != signed && c.check(si, asSent[:]) == nil {
			return c, nil
		}
	}
	return c, err
}

// setOf writes contents of a SET OF with its universal tag, in DER order if sorted.
func setOf(contents []byte, sorted bool) []byte {
	body := contents
	if sorted {
		var list [][]byte
		for rest := cryptobyte.String(contents); !rest.Empty(); {
			var e cryptobyte.String
			var tag casn1.Tag
			if !rest.ReadAnyASN1Element(&e, &tag) {
				return nil // cannot happen: attributes has read the same octets
			}
			list = append(list, e)
		}
		slices.SortFunc(list, bytes.Compare)
		body = bytes.Join(list, nil)
	}
	out := appendLength(append(make([]byte, 0, len(body)+6), 0x31), len(body))
	return append(out, body...)
}

func (s *SignedData) certificateOf(si *SignerInfo) *Certificate {
	for i := range s.Certificates {
		c := &s.Certificates[i]
		switch {
		case si.KeyID != nil:
			if len(c.KeyID) > 0 && bytes.Equal(si.KeyID, c.KeyID) {
				return c
			}
		case bytes.Equal(si.Issuer, c.Issuer) && si.Serial.Cmp(c.Serial) == 0:
			return c
		}
	}
	return nil
}

// checkAttributes holds the signed attributes against the content and the signature (RFC 5652 5.6 and 11, RFC 5035,
// RFC 6211).
func (s *SignedData) checkAttributes(si *SignerInfo, c *Certificate, digest []byte) *Error {
	for i, a := range si.SignedAttributes {
		for _, b := range si.SignedAttributes[:i] {
			if a.Type.Equal(b.Type) {
				return &Error{Problem: AttributeMismatch, Signer: -1, OID: a.Type, Detail: "an attribute occurs twice:"}
			}
		}
	}
	typ, ok := si.single(oidContentType)
	var oid asn1.ObjectIdentifier
	if !ok || !typ.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(s.ContentType) {
		return fail(AttributeMismatch, "the signed content type is not that of the content")
	}
	value, ok := si.single(oidMessageDigest)
	var got cryptobyte.String
	if !ok || !value.ReadASN1(&got, casn1.OCTET_STRING) {
		return fail(AttributeMismatch, "there is no message digest")
	}
	if subtle.ConstantTimeCompare(got, digest) != 1 {
		return fail(DigestMismatch, "the content is not what was signed")
	}
	if err := si.checkCertificateAttribute(c); err != nil {
		return err
	}
	return si.checkAlgorithmProtection()
}

// single returns the value of an attribute that must have exactly one.
func (s *SignerInfo) single(oid asn1.ObjectIdentifier) (cryptobyte.String, bool) {
	for _, a := range s.SignedAttributes {
		if a.Type.Equal(oid) {
			if len(a.Values) != 1 {
				return nil, false
			}
			return a.Values[0], true
		}
	}
	return nil, false
}

// checkCertificateAttribute compares the certificate hash in signingCertificateV2, if the attribute is there.
func (s *SignerInfo) checkCertificateAttribute(c *Certificate) *Error {
	value := cryptobyte.String(s.Attribute(oidSigningCertificateV2))
	if value == nil {
		return nil
	}
	var seq, list, first, algorithm, hash cryptobyte.String
	var explicit bool
	if !value.ReadASN1(&seq, casn1.SEQUENCE) || !seq.ReadASN1(&list, casn1.SEQUENCE) ||
		!list.ReadASN1(&first, casn1.SEQUENCE) ||
		!first.ReadOptionalASN1(&algorithm, &explicit, casn1.SEQUENCE) || !first.ReadASN1(&hash, casn1.OCTET_STRING) {
		return fail(AttributeMismatch, "signingCertificateV2 cannot be read")
	}
	if explicit { // the default is SHA-256 (RFC 5035 section 4)
		var oid asn1.ObjectIdentifier
		if !algorithm.ReadASN1ObjectIdentifier(&oid) {
			return fail(AttributeMismatch, "signingCertificateV2 cannot be read")
		}
		if !oid.Equal(oidSHA256) {
			return unsupported(oid, "digest algorithm of signingCertificateV2")
		}
	}
	if want := sha256.Sum256(c.Raw); !bytes.Equal(hash, want[:]) {
		return fail(AttributeMismatch, "signingCertificateV2 names another certificate")
	}
	return nil
}

// checkAlgorithmProtection compares the algorithms in CMSAlgorithmProtection, if the attribute is there.
func (s *SignerInfo) checkAlgorithmProtection() *Error {
	value := cryptobyte.String(s.Attribute(oidAlgorithmProtection))
	if value == nil {
		return nil
	}
	var seq, digest, signature cryptobyte.String
	if !value.ReadASN1(&seq, casn1.SEQUENCE) || !seq.ReadASN1Element(&digest, casn1.SEQUENCE) {
		return fail(AttributeMismatch, "CMSAlgorithmProtection cannot be read")
	}
	if !seq.ReadASN1(&signature, tagContext(1)) {
		return fail(AttributeMismatch, "CMSAlgorithmProtection names no signature algorithm")
	}
	if !sameAlgorithm(digest, s.digestAlgorithm) || !sameAlgorithm(sequence(signature), s.signatureAlgorithm) {
		return fail(AttributeMismatch, "CMSAlgorithmProtection names other algorithms")
	}
	return nil
}

func sequence(contents []byte) []byte {
	return append(appendLength([]byte{0x30}, len(contents)), contents...)
}

// sameAlgorithm compares two AlgorithmIdentifiers; absent parameters and NULL are the same (RFC 5754 section 2).
func sameAlgorithm(a, b []byte) bool {
	oidA, paramsA, okA := algorithmIdentifier(a)
	oidB, paramsB, okB := algorithmIdentifier(b)
	return okA && okB && oidA.Equal(oidB) && bytes.Equal(withoutNull(paramsA), withoutNull(paramsB))
}

func withoutNull(params []byte) []byte {
	if bytes.Equal(params, []byte{5, 0}) {
		return nil
	}
	return params
}

// maxRSABits bounds the work of one verification; keys of the health network have 2,048 bits.
const maxRSABits = 8192

// check verifies the signature value over a digest.
func (c *Certificate) check(si *SignerInfo, digest []byte) *Error {
	key, err := c.key()
	if err != nil {
		return err
	}
	_, params, _ := algorithmIdentifier(si.signatureAlgorithm)
	var bad error
	switch alg := si.SignatureAlgorithm; {
	case alg.Equal(oidPSS):
		pub, ok := key.(*rsa.PublicKey)
		if !ok {
			return fail(AttributeMismatch, "an RSA signature with a key of another kind")
		}
		salt, err := pssSalt(params)
		if err != nil {
			return err
		}
		bad = rsa.VerifyPSS(pub, crypto.SHA256, digest, si.Signature, &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256})
	case alg.Equal(oidRSA), alg.Equal(oidSHA256WithRSA):
		pub, ok := key.(*rsa.PublicKey)
		if !ok {
			return fail(AttributeMismatch, "an RSA signature with a key of another kind")
		}
		bad = rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest, si.Signature)
	case alg.Equal(oidECDSAWithSHA256):
		pub, ok := key.(*ecdsa.PublicKey)
		if !ok {
			return fail(AttributeMismatch, "an ECDSA signature with a key of another kind")
		}
		if !ecdsa.VerifyASN1(pub, digest, si.Signature) {
			bad = errors.New("the ECDSA signature is wrong")
		}
	default:
		return unsupported(alg, "signature algorithm")
	}
	if bad != nil {
		return &Error{Problem: SignatureMismatch, Signer: -1, Detail: "the signature value is wrong", Err: bad}
	}
	return nil
}

// key reads the certificate's public key. Kinds that we do not have are told apart from broken ones.
func (c *Certificate) key() (crypto.PublicKey, *Error) {
	info := cryptobyte.String(c.publicKey)
	var spki, algorithm cryptobyte.String
	if !info.ReadASN1(&spki, casn1.SEQUENCE) || !spki.ReadASN1Element(&algorithm, casn1.SEQUENCE) {
		return nil, fail(CertificateInvalid, "the certificate has no key")
	}
	oid, params, ok := algorithmIdentifier(algorithm)
	switch {
	case !ok:
		return nil, fail(CertificateInvalid, "the certificate has no key algorithm")
	case oid.Equal(oidECPublicKey):
		curve, rest := asn1.ObjectIdentifier{}, cryptobyte.String(params)
		if !rest.ReadASN1ObjectIdentifier(&curve) {
			return nil, unsupported(oid, "key on a curve without a name")
		}
		if !curve.Equal(oidP256) {
			return nil, unsupported(curve, "key on the curve")
		}
	case !oid.Equal(oidRSA):
		return nil, unsupported(oid, "key algorithm")
	}
	key, err := x509.ParsePKIXPublicKey(c.publicKey)
	if err != nil {
		return nil, &Error{Problem: CertificateInvalid, Signer: -1, Detail: "the certificate has a broken key", Err: err}
	}
	if pub, ok := key.(*rsa.PublicKey); ok && (pub.N.BitLen() > maxRSABits || pub.N.BitLen() < 1024) {
		return nil, unsupported(oid, "an RSA key of an unusual length")
	}
	return key, nil
}

// pssSalt reads RSASSA-PSS-params (RFC 4055 section 3.1) and returns the salt length. Absent fields mean SHA-1, which is
// not supported.
func pssSalt(params []byte) (int, *Error) {
	input := cryptobyte.String(params)
	var seq, hash, mask, salt, trailer cryptobyte.String
	var hasHash, hasMask, hasSalt, hasTrailer bool
	if !input.ReadASN1(&seq, casn1.SEQUENCE) ||
		!seq.ReadOptionalASN1(&hash, &hasHash, tagContext(0)) || !seq.ReadOptionalASN1(&mask, &hasMask, tagContext(1)) ||
		!seq.ReadOptionalASN1(&salt, &hasSalt, tagContext(2)) || !seq.ReadOptionalASN1(&trailer, &hasTrailer, tagContext(3)) {
		return 0, fail(Format, "RSASSA-PSS parameters that cannot be read")
	}
	if !hasHash || !hasMask {
		return 0, unsupported(oidPSS, "SHA-1 in")
	}
	hashOID, _, ok1 := algorithmIdentifier(hash)
	maskOID, maskParams, ok2 := algorithmIdentifier(mask)
	if !ok1 || !ok2 {
		return 0, fail(Format, "RSASSA-PSS parameters that cannot be read")
	}
	maskHash, _, _ := algorithmIdentifier(maskParams)
	if !hashOID.Equal(oidSHA256) || !maskOID.Equal(oidMGF1) || !maskHash.Equal(oidSHA256) {
		return 0, unsupported(hashOID, "RSASSA-PSS with")
	}
	length, field := 20, 1
	if hasSalt && !salt.ReadASN1Integer(&length) || hasTrailer && !trailer.ReadASN1Integer(&field) ||
		length < 0 || field != 1 {
		return 0, fail(Format, "RSASSA-PSS parameters that cannot be read")
	}
	if length == 0 {
		return 0, unsupported(oidPSS, "a salt of no octets in") // crypto/rsa reads 0 as "any length"
	}
	return length, nil
}
