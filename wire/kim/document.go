package kim

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// Reason says why a mail yields no document.
type Reason string

// The reasons. Only NoDocument, SeveralDocuments and Empty say something about what the sender chose to send; the others
// may be damage on the way or a bound of ours.
const (
	NoDocument       Reason = "no-document"       // no part looks like a signed document
	SeveralDocuments Reason = "several-documents" // more than one part does
	Encrypted        Reason = "encrypted"         // the mail is still a KOM-LE-Nachricht: its document lies inside
	AtKAS            Reason = "at-kas"            // the content lies on a KIM-Attachment-Service
	Empty            Reason = "empty"             // the document part has no octets
	BadEncoding      Reason = "bad-encoding"      // the transfer encoding is damaged or unknown
	Malformed        Reason = "malformed"         // a multipart without delimiters
	TooDeep          Reason = "too-deep"          // over MaxDepth
	TooManyParts     Reason = "too-many-parts"    // over MaxParts
	TooLarge         Reason = "too-large"         // over MaxMail
)

// ExtractError says why a mail yields no document.
type ExtractError struct {
	Reason Reason
	Err    error // the cause, if there is one below
}

func (e *ExtractError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("couldn't take the document out of the mail (%s): %v", e.Reason, e.Err)
	}
	return fmt.Sprintf("couldn't take the document out of the mail (%s)", e.Reason)
}

func (e *ExtractError) Unwrap() error { return e.Err }

// ReasonOf returns the reason in an error of [Document], "" if there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*ExtractError](err); ok {
		return e.Reason
	}
	return ""
}

// Attachment is a signed document as a mail carried it.
type Attachment struct {
	FileName    string // as the sender wrote it: foreign text, never a path to write to; "" if missing
	Description string // Content-Description
	P7S         []byte // the octets of the CMS SignedData; may be part of the mail's octets
}

// Document returns the one signed document (.p7s) of a mail.
//
// A part is a signed document by its file name or media type; if no part is one by name, by content: octets that begin
// like a CMS SignedData. Text parts are never one. Two of them, even equal ones, are an error: a mail carries exactly one
// signed instance (KBV Technische Anlage eAU P5-02).
//
// A mail whose body is itself application/pkcs7-mime with signed-data is taken as that document.
func Document(octets []byte) (Attachment, error) {
	var named, sniffed []part
	err := walk(octets, func(p part) error {
		switch k := classify(&p); k {
		case isEncrypted:
			return &ExtractError{Reason: Encrypted}
		case isKAS:
			return &ExtractError{Reason: AtKAS}
		case isNamed:
			named = append(named, p)
		case isOther:
			sniffed = append(sniffed, p)
		case isText:
		}
		return nil
	})
	if err != nil {
		return Attachment{}, err
	}
	if len(named) == 0 {
		named = signedDataAmong(sniffed)
	}
	switch len(named) {
	case 0:
		return Attachment{}, &ExtractError{Reason: NoDocument}
	case 1:
		return named[0].attachment()
	default:
		return Attachment{}, &ExtractError{Reason: SeveralDocuments}
	}
}

func (p *part) attachment() (Attachment, error) {
	b, err := p.decode()
	if err != nil {
		return Attachment{}, err
	}
	if len(b) == 0 {
		return Attachment{}, &ExtractError{Reason: Empty}
	}
	return Attachment{FileName: p.fileName(), Description: p.header.Get("Content-Description"), P7S: b}, nil
}

func (p *part) fileName() string {
	_, params := mediaType(p.header.Get("Content-Disposition"))
	if name := params["filename"]; name != "" {
		return name
	}
	return p.params["name"]
}

type class int

const (
	isOther class = iota
	isText
	isNamed
	isEncrypted
	isKAS
)

func classify(p *part) class {
	disposition, _ := mediaType(p.header.Get("Content-Disposition"))
	switch {
	case disposition == "x-kas":
		return isKAS
	case strings.HasSuffix(p.mediaType, "/pkcs7-mime") || strings.HasSuffix(p.mediaType, "/x-pkcs7-mime"):
		if t := strings.ToLower(p.params["smime-type"]); t != "" && t != "signed-data" {
			return isEncrypted
		}
		return isNamed
	case p.mediaType == "application/pkcs7", p.mediaType == "application/pkcs7-signature",
		p.mediaType == "application/x-pkcs7-signature":
		return isNamed
	case strings.HasSuffix(strings.ToLower(p.fileName()), ".p7s"):
		return isNamed
	case strings.HasPrefix(p.mediaType, "text/"):
		return isText
	default:
		return isOther
	}
}

// signedDataOID is 1.2.840.113549.1.7.2 with its tag and length.
var signedDataOID = []byte{0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02}

// signedDataAmong keeps the parts whose octets begin with a SEQUENCE that holds the signedData OID first.
func signedDataAmong(parts []part) []part {
	var out []part
	for i := range parts {
		b, err := parts[i].decode()
		if err != nil || len(b) == 0 || b[0] != 0x30 {
			continue
		}
		if at := bytes.Index(b[:min(len(b), 24)], signedDataOID); at >= 2 && at <= 7 {
			out = append(out, parts[i])
		}
	}
	return out
}
