package cms

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/querschott/querschott/wire/internal/shared"
)

var content = []byte("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Bundle xmlns=\"http://hl7.org/fhir\"/>\r\n\x00\xff")

func sign(t testing.TB, id identity, content []byte) []byte {
	t.Helper()
	der, err := Sign(content, id.cert, id.key, signingTime)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func verify(t testing.TB, octets []byte) (*SignedData, []Signer) {
	t.Helper()
	sd, err := Parse(octets)
	if err != nil {
		t.Fatal(err)
	}
	signers, err := sd.Verify()
	if err != nil {
		t.Fatal(err)
	}
	return sd, signers
}

func TestSignVerify(t *testing.T) {
	for name, id := range identities() {
		t.Run(name, func(t *testing.T) {
			for _, content := range [][]byte{content, {}, bytes.Repeat([]byte("x"), 70_000)} {
				sd, signers := verify(t, sign(t, id, content))
				if !bytes.Equal(sd.Content, content) {
					t.Error("the content is not what was signed")
				}
				if len(signers) != 1 {
					t.Fatalf("%d signers, want 1", len(signers))
				}
				if got := signers[0].Info.SigningTime; !got.Equal(signingTime) {
					t.Errorf("signing time %v, want %v", got, signingTime)
				}
				if !bytes.Equal(signers[0].Certificate.Raw, id.cert.Raw) || signers[0].Certificate.Parsed == nil {
					t.Error("not the signer's certificate")
				}
			}
		})
	}
}

func TestSignRefusesAForeignKey(t *testing.T) {
	if _, err := Sign(content, rsaIdentity().cert, ecdsaIdentity().key, signingTime); err == nil {
		t.Error("signed with a key that is not the certificate's")
	}
}

func TestSigningTimeAfter2049(t *testing.T) {
	at := time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC)
	der, err := Sign(content, ecdsaIdentity().cert, ecdsaIdentity().key, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, signers := verify(t, der); !signers[0].Info.SigningTime.Equal(at) {
		t.Errorf("signing time %v, want %v", signers[0].Info.SigningTime, at)
	}
}

// TestOpenSSLVerifiesOurs: the foreign program accepts what Sign writes and takes the same octets out of it.
func TestOpenSSLVerifiesOurs(t *testing.T) {
	for name, id := range identities() {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeFile(t, dir, "doc.p7s", sign(t, id, content))
			writeFile(t, dir, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw}))
			mustOpenssl(t, dir, "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in", "doc.p7s", "-CAfile", "ca.pem",
				"-purpose", "any", "-attime", "1790677800", "-out", "content")
			if got := readFile(t, dir, "content"); !bytes.Equal(got, content) {
				t.Errorf("openssl took out %q", got)
			}
		})
	}
}

// TestVerifiesOpenSSL: signatures of the foreign program in every form it has are accepted, brainpool keys are unsupported.
func TestVerifiesOpenSSL(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "content", content)
	for name, id := range map[string]identity{"rsa": rsaIdentity(), "ec": ecdsaIdentity()} {
		key, err := x509.MarshalPKCS8PrivateKey(id.key)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, dir, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
		writeFile(t, dir, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert.Raw}))
	}
	mustOpenssl(t, dir, "ecparam", "-name", "brainpoolP256r1", "-genkey", "-noout", "-out", "bp.key")
	mustOpenssl(t, dir, "req", "-x509", "-new", "-key", "bp.key", "-sha256", "-subj", "/CN=brainpool", "-out", "bp.pem")
	mustOpenssl(t, dir, "ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "p384.key")
	mustOpenssl(t, dir, "req", "-x509", "-new", "-key", "p384.key", "-sha256", "-subj", "/CN=p384", "-out", "p384.pem")
	pss := []string{"-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:32"}
	for _, tc := range []struct {
		name, id string
		args     []string
		want     Problem
	}{
		{"PKCS#1 v1.5", "rsa", nil, ""},
		{"PSS", "rsa", pss, ""},
		{"PSS with the longest salt", "rsa", []string{"-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:-2"}, ""},
		{"ECDSA", "ec", nil, ""},
		{"signer named by key", "ec", []string{"-keyid"}, ""},
		{"no signed attributes", "ec", []string{"-noattr"}, ""},
		{"CAdES", "ec", []string{"-cades"}, ""},
		{"no certificate", "ec", []string{"-nocerts"}, NoCertificate},
		{"detached", "ec", nil, NoContent},
		{"SHA-512", "ec", []string{"-md", "sha512"}, Unsupported},
		{"brainpool", "bp", nil, Unsupported},
		{"brainpool, signer named by key", "bp", []string{"-keyid"}, Unsupported},
		{"P-384", "p384", nil, Unsupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := []string{"cms", "-sign", "-binary", "-md", "sha256", "-in", "content", "-signer", tc.id + ".pem", "-inkey", tc.id + ".key", "-outform", "DER", "-out", "p7s"}
			if tc.want != NoContent {
				args = append(args, "-nodetach")
			}
			mustOpenssl(t, dir, append(args, tc.args...)...)
			sd, err := Parse(readFile(t, dir, "p7s"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = sd.Verify()
			if ProblemOf(err) != tc.want {
				t.Fatalf("got %v, want problem %q", err, tc.want)
			}
			if tc.want == "" && !bytes.Equal(sd.Content, content) {
				t.Error("the content is not what was signed")
			}
			if tc.id == "bp" {
				if e := err.(*Error); !e.OID.Equal(OIDBrainpoolP256r1) || !e.Problem.Ours() || sd.Certificates[0].Parsed != nil { //nolint:errorlint // the type is the promise
					t.Errorf("a brainpool key was not named: %v", err)
				}
			}
		})
	}
}

// TestPublishedDocuments: the four signed eEB requests, whose verdict and content are those of openssl.
func TestPublishedDocuments(t *testing.T) {
	files := shared.Glob(t, "data/kim/eeb/*.p7s")
	if len(files) != 4 {
		t.Fatalf("%d published documents, want 4", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			octets, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sd, signers := verify(t, octets)
			dir := t.TempDir()
			mustOpenssl(t, dir, "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", file, "-out", "content")
			if diff := cmp.Diff(string(readFile(t, dir, "content")), string(sd.Content)); diff != "" {
				t.Error(diff)
			}
			if c := signers[0].Certificate; c.NotAfter.Format(time.DateOnly) != "2025-09-29" {
				t.Errorf("the certificate ends %v", c.NotAfter)
			}
		})
	}
}

// TestPublishedMailSignature: stage .02 of the published mail verifies and holds exactly stage .01; the signature inside
// stage .03, damaged by its publisher, does not and is no crash.
func TestPublishedMailSignature(t *testing.T) {
	const mail = "data/kim/smime/inputEmail.txt"
	sd, signers := verify(t, shared.File(t, mail+".02.signedcms"))
	if !bytes.Equal(sd.Content, shared.File(t, mail+".01.rfc822wrap")) {
		t.Error("the content of stage .02 is not stage .01")
	}
	if got := signers[0].Info.SigningTime; !got.Equal(time.Date(2020, 12, 14, 7, 17, 5, 0, time.UTC)) {
		t.Errorf("signing time %v", got)
	}
	_, damaged, ok := bytes.Cut(shared.File(t, mail+".03.signedwrap"), []byte("\r\n\r\n"))
	if !ok {
		t.Fatal("no header in stage .03")
	}
	if _, err := Parse(damaged); ProblemOf(err) != Format {
		t.Errorf("got %v, want problem %q", err, Format)
	}
	if _, err := Parse(shared.File(t, mail+".04.encryptedcms")); ProblemOf(err) != Format {
		t.Errorf("an encrypted layer: got %v, want problem %q", err, Format)
	}
}

// TestEveryFlippedBitIsDetected flips each bit of the content, the signed attributes and the signature value.
func TestEveryFlippedBitIsDetected(t *testing.T) {
	for name, id := range identities() {
		t.Run(name, func(t *testing.T) {
			short := []byte("a short content")
			der := sign(t, id, short)
			sd, _ := verify(t, der)
			si := sd.SignerInfos[0]
			for part, octets := range map[string][]byte{"content": short, "attributes": si.signed, "signature": si.Signature, "algorithm": si.signatureAlgorithm} {
				at := bytes.LastIndex(der, octets)
				if at < 0 {
					t.Fatalf("no %s in the document", part)
				}
				for i := range octets {
					for bit := range 8 {
						flipped := bytes.Clone(der)
						flipped[at+i] ^= 1 << bit
						if err := verdict(flipped); err == nil {
							t.Fatalf("%s: a flip of bit %d of octet %d was not detected", part, bit, i)
						}
					}
				}
			}
		})
	}
}

func verdict(octets []byte) error {
	sd, err := Parse(octets)
	if err != nil {
		return err
	}
	_, err = sd.Verify()
	return err
}

func TestProblemsAreToldApart(t *testing.T) {
	id, other := ecdsaIdentity(), selfSigned(ecdsaIdentity().key)
	der := sign(t, id, content)
	for _, tc := range []struct {
		name   string
		change func(*SignedData)
		want   Problem
	}{
		{"other content", func(s *SignedData) { s.Content = []byte("other") }, DigestMismatch},
		{"no content", func(s *SignedData) { s.Content = nil }, NoContent},
		{"other type", func(s *SignedData) { s.ContentType = oidSignedData }, AttributeMismatch},
		{"nobody signed", func(s *SignedData) { s.SignerInfos = nil }, NoSignature},
		{"no certificate", func(s *SignedData) { s.Certificates = nil }, NoCertificate},
		{"another certificate of the same name, number and key", func(s *SignedData) {
			s.Certificates[0] = parseCertificate(other.cert.Raw)
		}, AttributeMismatch},
		{"another algorithm", func(s *SignedData) { s.SignerInfos[0].signatureAlgorithm = sequence([]byte{6, 1, 42}) }, AttributeMismatch},
		{"signature of something else", func(s *SignedData) { s.SignerInfos[0].Signature[8] ^= 1 }, SignatureMismatch},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sd, err := Parse(der)
			if err != nil {
				t.Fatal(err)
			}
			tc.change(sd)
			if _, err := sd.Verify(); ProblemOf(err) != tc.want {
				t.Errorf("got %v, want problem %q", err, tc.want)
			}
		})
	}
}

// TestAttributesInSentOrder: a signer who signs his attributes in another order than DER asks for is understood.
func TestAttributesInSentOrder(t *testing.T) {
	id := ecdsaIdentity()
	sd, _ := verify(t, sign(t, id, content))
	list := make([][]byte, 0, 5)
	for rest := sd.SignerInfos[0].signed; len(rest) > 0; {
		n := 2 + int(rest[1])
		if rest[1] >= 0x80 {
			n = 3 + int(rest[2])
		}
		list = append(list, rest[:n])
		rest = rest[n:]
	}
	list[0], list[1] = list[1], list[0]
	unsorted := bytes.Join(list, nil)
	algorithm, opts, err := algorithmFor(id.key)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha(setOf(unsorted, false))
	signature, err := id.key.Sign(nil, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	der, err := assemble(content, id.cert, algorithm, unsorted, signature)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, der)
}
