package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const algEd25519 = 1 // signature type of C2SP signed notes

// SignerFromSeed makes a note signer and its vkey from an Ed25519 seed (C2SP signed-note).
func SignerFromSeed(name string, seed []byte) (note.Signer, string, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, "", fmt.Errorf("an Ed25519 seed has %d bytes", ed25519.SeedSize)
	}
	public := append([]byte{algEd25519}, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)...)
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write(public)
	id := binary.BigEndian.Uint32(h.Sum(nil))
	skey := fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, id, base64.StdEncoding.EncodeToString(append([]byte{algEd25519}, seed...)))
	s, err := note.NewSigner(skey)
	if err != nil {
		return nil, "", fmt.Errorf("couldn't make the signer %s", name) // the cause may quote the key
	}
	return s, fmt.Sprintf("%s+%08x+%s", name, id, base64.StdEncoding.EncodeToString(public)), nil
}

// NewOperatorKey makes an operator's own key, writes it to a file that only its owner can read, and returns the vkey.
func NewOperatorKey(file, name string) (vkey string, err error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("couldn't write the operator's key: %w", err)
	}
	_, err = fmt.Fprintln(f, skey)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return vkey, err
}

// LoadOperatorKey reads an operator's key file.
func LoadOperatorKey(file string) (note.Signer, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	s, err := note.NewSigner(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, fmt.Errorf("%s is not an operator's key", file)
	}
	return s, nil
}

// LoadOperatorPair reads the same file, and returns the vkey of its public half besides.
func LoadOperatorPair(file string) (note.Signer, string, error) {
	s, err := LoadOperatorKey(file)
	if err != nil {
		return nil, "", err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, "", err
	}
	parts := strings.SplitN(strings.TrimSpace(string(data)), "+", 5) // PRIVATE+KEY+name+hash+key; base64 may hold a plus
	secret, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(secret) != 1+ed25519.SeedSize || secret[0] != algEd25519 {
		return nil, "", fmt.Errorf("%s is no Ed25519 key", file)
	}
	return SignerFromSeed(s.Name(), secret[1:])
}
