package zeta

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/querschott/querschott/wire/internal/object"
)

// The headers between an enforcement point and the service behind it.
const (
	HeaderUserInfo   = "Zeta-User-Info"
	HeaderPresence   = "Zeta-Popp-Token-Content"
	HeaderClientData = "Zeta-Client-Data"
	HeaderCause      = "Zeta-Cause" // service to gate: "Proxy" means that the gate's headers are wrong (A_26974-01)
	HeaderAPIVersion = "Zeta-Api-Version"
	HeaderPoPP       = "Popp" // client to gate: the PoPP token
	HeaderDPoP       = "Dpop"
	HeaderDPoPNonce  = "Dpop-Nonce"
	HeaderOrigin     = "Zeta-Error-Origin"
)

// The sizes of header values in octets (gemSpec_ZETA A_25669-01).
const (
	MaxUserInfo   = 250
	MaxPresence   = 450
	MaxClientData = 250

	maxHeader = 4096 // of what is read from others
)

// UserInfo is the content of ZETA-User-Info: who calls.
type UserInfo struct {
	Identifier    string `json:"identifier"`
	ProfessionOID string `json:"professionOID"`
	CommonName    string `json:"commonName"`
	Organization  string `json:"organizationName,omitempty"`
}

// UserInfo returns what an access token says about its user.
func (a *Access) UserInfo() UserInfo {
	return UserInfo{a.Subject, a.Profession, a.CommonName, a.Organization}
}

// Encode writes the header's value of at most 250 octets. Where that is too little the name of the organization, which is
// optional, is left out and then the common name is cut: both are for display. An identifier that does not fit is an error.
func (u UserInfo) Encode() (string, error) {
	value, err := encode(u, MaxUserInfo)
	if err == nil {
		return value, nil
	}
	u.Organization = ""
	for {
		value, err = encode(u, MaxUserInfo)
		if err == nil || u.CommonName == "" {
			return value, err
		}
		_, last := utf8.DecodeLastRuneInString(u.CommonName)
		u.CommonName = u.CommonName[:len(u.CommonName)-last]
	}
}

// ParseUserInfo reads the header's value. The three required members may be empty texts, but not missing.
func ParseUserInfo(value string) (UserInfo, error) {
	var u UserInfo
	found := 0
	err := decode(value, func(name string, v object.Value) error {
		switch name {
		case "identifier":
			found++
			return text(&u.Identifier, v)
		case "professionOID":
			found++
			return text(&u.ProfessionOID, v)
		case "commonName":
			found++
			return text(&u.CommonName, v)
		case "organizationName":
			return text(&u.Organization, v)
		}
		return nil
	})
	if err == nil && (found != 3 || u.Identifier == "") {
		err = ErrMissing
	}
	if err != nil {
		return UserInfo{}, fmt.Errorf("couldn't read the user's data: %w", err)
	}
	return u, nil
}

// ClientData is the content of ZETA-Client-Data: by what program.
type ClientData struct {
	Client   string `json:"client_id"`
	Product  string `json:"product_id"`
	Version  string `json:"product_version"`
	Platform string `json:"platform,omitempty"`
}

// ClientData returns what an access token says about its client.
func (a *Access) ClientData() ClientData {
	return ClientData{a.Client, a.Product, a.ProductVersion, a.Platform}
}

// Encode writes the header's value of at most 250 octets. Data that does not fit is an error.
func (c ClientData) Encode() (string, error) { return encode(c, MaxClientData) }

// ParseClientData reads the header's value.
func ParseClientData(value string) (ClientData, error) {
	var c ClientData
	err := decode(value, func(name string, v object.Value) error {
		switch name {
		case "client_id":
			return text(&c.Client, v)
		case "product_id":
			return text(&c.Product, v)
		case "product_version":
			return text(&c.Version, v)
		case "platform":
			return text(&c.Platform, v)
		}
		return nil
	})
	if err == nil && (c.Client == "" || c.Product == "" || c.Version == "") {
		err = ErrMissing
	}
	if err != nil {
		return ClientData{}, fmt.Errorf("couldn't read the client's data: %w", err)
	}
	return c, nil
}

// EncodePresence writes the value of ZETA-PoPP-Token-Content, at most 450 octets: the complete payload of a PoPP token,
// without blanks. A payload that does not fit is an error.
func EncodePresence(payload []byte) (string, error) {
	var compact bytes.Buffer
	if err := json.Compact(&compact, payload); err != nil {
		return "", fmt.Errorf("couldn't write the content of a PoPP token: %w", err)
	}
	return limited(compact.Bytes(), MaxPresence)
}

// DecodePresence reads the value of ZETA-PoPP-Token-Content and returns the payload as it stands there, which
// [ParsePresence] understands.
func DecodePresence(value string) ([]byte, error) {
	payload, err := liberal(value)
	if err == nil {
		_, err = ParsePresence(payload)
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the content of a PoPP token: %w", err)
	}
	return payload, nil
}

func encode(v any, limit int) (string, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "", fmt.Errorf("couldn't write a header: %w", err)
	}
	return limited(bytes.TrimSpace(b.Bytes()), limit)
}

func limited(b []byte, limit int) (string, error) {
	if base64.RawURLEncoding.EncodedLen(len(b)) > limit {
		return "", fmt.Errorf("couldn't write a header: it has more than %d octets", limit)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// liberal decodes either alphabet, with padding or without: the published enforcement point writes padding, the published
// simulator the standard alphabet.
func liberal(value string) ([]byte, error) {
	if len(value) > maxHeader {
		return nil, ErrClaim
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, ErrClaim
	}
	value = strings.TrimRight(value, "=")
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(value, "+/") {
		encoding = base64.RawStdEncoding
	}
	return encoding.DecodeString(value)
}

func decode(value string, member func(string, object.Value) error) error {
	b, err := liberal(value)
	if err != nil {
		return err
	}
	return object.Each(string(b), member)
}
