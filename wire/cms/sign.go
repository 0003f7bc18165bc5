package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Sign returns an enveloping SignedData in DER: the content, the certificate and one signature by issuer and serial
// number, over the signed attributes contentType, signingTime, messageDigest, CMSAlgorithmProtection and
// signingCertificateV2. RSA keys sign with RSASSA-PSS (SHA-256, salt of 32 octets), keys on P-256 with ECDSA and SHA-256.
// The key must be that of the certificate.
func Sign(content []byte, cert *x509.Certificate, key crypto.Signer, at time.Time) ([]byte, error) {
	if len(content) > MaxSize/2 {
		return nil, fmt.Errorf("couldn't sign: %d octets, at most %d are signed", len(content), MaxSize/2)
	}
	algorithm, opts, err := algorithmFor(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign: %w", err)
	}
	if pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return nil, errors.New("couldn't sign: the key is not that of the certificate")
	}
	signed, err := signedAttributes(content, cert, algorithm, at)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign: %w", err)
	}
	digest := sha256.Sum256(setOf(signed, false))
	signature, err := key.Sign(rand.Reader, digest[:], opts)
	if err != nil {
		return nil, fmt.Errorf("couldn't sign: %w", err)
	}
	return assemble(content, cert, algorithm, signed, signature)
}

// algorithmFor returns the DER of the signature's AlgorithmIdentifier and the options of the signer.
func algorithmFor(key crypto.Signer) ([]byte, crypto.SignerOpts, error) {
	var b cryptobyte.Builder
	switch pub := key.Public().(type) {
	case *rsa.PublicKey:
		const salt = 32
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(oidPSS)
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(tagContext(0), addSHA256)
				b.AddASN1(tagContext(1), func(b *cryptobyte.Builder) {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidMGF1)
						addSHA256(b)
					})
				})
				b.AddASN1(tagContext(2), func(b *cryptobyte.Builder) { b.AddASN1Int64(salt) })
			})
		})
		der, err := b.Bytes()
		return der, &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256}, err
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return nil, nil, errors.New("ECDSA keys must be on P-256")
		}
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidECDSAWithSHA256) })
		der, err := b.Bytes()
		return der, crypto.SHA256, err
	default:
		return nil, nil, errors.New("the key is neither RSA nor ECDSA")
	}
}

func addSHA256(b *cryptobyte.Builder) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSHA256)
		b.AddASN1NULL()
	})
}

// signedAttributes returns the contents of the SET OF in DER order.
func signedAttributes(content []byte, cert *x509.Certificate, algorithm []byte, at time.Time) ([]byte, error) {
	digest, certHash := sha256.Sum256(content), sha256.Sum256(cert.Raw)
	_, params, _ := algorithmIdentifier(algorithm)
	alg, _, _ := algorithmIdentifier(algorithm)
	list := make([][]byte, 0, 5)
	for _, a := range []struct {
		oid   asn1.ObjectIdentifier
		value cryptobyte.BuilderContinuation
	}{
		{oidContentType, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oidData) }},
		{oidSigningTime, func(b *cryptobyte.Builder) { addTime(b, at) }},
		{oidMessageDigest, func(b *cryptobyte.Builder) { b.AddASN1OctetString(digest[:]) }},
		{oidAlgorithmProtection, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				addSHA256(b)
				b.AddASN1(tagContext(1), func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(alg)
					b.AddBytes(params)
				})
			})
		}},
		{oidSigningCertificateV2, func(b *cryptobyte.Builder) { addSigningCertificate(b, certHash[:], cert) }},
	} {
		var b cryptobyte.Builder
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(a.oid)
			b.AddASN1(casn1.SET, a.value)
		})
		der, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		list = append(list, der)
	}
	slices.SortFunc(list, bytes.Compare)
	return bytes.Join(list, nil), nil
}

// addTime writes UTCTime until 2049 and GeneralizedTime after it (RFC 5652 11.3).
func addTime(b *cryptobyte.Builder, t time.Time) {
	t = t.UTC().Truncate(time.Second)
	if t.Year() >= 1950 && t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// addSigningCertificate writes SigningCertificateV2 with one ESSCertIDv2 (RFC 5035 section 3).
func addSigningCertificate(b *cryptobyte.Builder, hash []byte, cert *x509.Certificate) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1OctetString(hash)
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { // GeneralNames
						b.AddASN1(tagContext(4), func(b *cryptobyte.Builder) { b.AddBytes(cert.RawIssuer) })
					})
					b.AddASN1BigInt(cert.SerialNumber)
				})
			})
		})
	})
}

// assemble writes the ContentInfo around the parts.
func assemble(content []byte, cert *x509.Certificate, algorithm, signed, signature []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(content)+len(cert.Raw)+len(signature)+len(signed)+1024))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidSignedData)
		b.AddASN1(tagContext(0), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(casn1.SET, addSHA256)
				b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1ObjectIdentifier(oidData)
					b.AddASN1(tagContext(0), func(b *cryptobyte.Builder) { b.AddASN1OctetString(content) })
				})
				b.AddASN1(tagContext(0), func(b *cryptobyte.Builder) { b.AddBytes(cert.Raw) })
				b.AddASN1(casn1.SET, func(b *cryptobyte.Builder) { addSignerInfo(b, cert, algorithm, signed, signature) })
			})
		})
	})
	return b.Bytes()
}

func addSignerInfo(b *cryptobyte.Builder, cert *x509.Certificate, algorithm, signed, signature []byte) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(cert.RawIssuer)
			b.AddASN1BigInt(cert.SerialNumber)
		})
		addSHA256(b)
		b.AddASN1(tagContext(0), func(b *cryptobyte.Builder) { b.AddBytes(signed) })
		b.AddBytes(algorithm)
		b.AddASN1OctetString(signature)
	})
}
