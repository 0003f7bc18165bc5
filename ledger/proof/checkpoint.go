// Package proof is what a holder of a receipt or proof needs to check it, offline, with one public key.
//
// It implements C2SP signed-note, tlog-checkpoint and tlog-proof (c2sp.org/tlog-proof@v1) with Ed25519 signatures of type
// 0x01, and the platform's receipt, which is a tlog-proof in the log of commits whose extra data leads from the commit
// down to one entry of one insurer's log. Nothing here needs the platform, its files or its clock, and every byte that a
// check depends on has one encoding only: a changed bit never passes.
package proof

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"github.com/querschott/querschott/ledger/tile"
)

// Checkpoint is the head of a log (C2SP tlog-checkpoint without extension lines).
type Checkpoint struct {
	Origin string
	Size   uint64
	Root   tile.Hash
}

// AppendText appends the text that is signed: origin, size and root, a line each.
func (c Checkpoint) AppendText(b []byte) []byte {
	b = append(append(b, c.Origin...), '\n')
	b = append(strconv.AppendUint(b, c.Size, 10), '\n')
	b = base64.StdEncoding.AppendEncode(b, c.Root[:])
	return append(b, '\n')
}

// ParseCheckpoint reads the text of a note. It accepts exactly what AppendText writes.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.SplitN(text, "\n", 4)
	if len(lines) != 4 || lines[3] != "" || lines[0] == "" {
		return Checkpoint{}, errors.New("a checkpoint has three lines: origin, size, root")
	}
	size, err := strconv.ParseUint(lines[1], 10, 63)
	if err != nil || strconv.FormatUint(size, 10) != lines[1] {
		return Checkpoint{}, errors.New("a checkpoint's second line is no tree size")
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("couldn't read a checkpoint's root: %w", err)
	}
	return Checkpoint{lines[0], size, root}, nil
}

func parseHash(s string) (h tile.Hash, err error) {
	b, err := strict(s)
	if err != nil {
		return h, err
	}
	if len(b) != len(h) {
		return h, fmt.Errorf("a hash has %d bytes, got %d", len(h), len(b))
	}
	return tile.Hash(b), nil
}

// strict decodes base64 that has exactly one spelling.
func strict(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("invalid base64")
	}
	return b, nil
}

// Signer signs the checkpoints of one log under the log's origin as key name.
type Signer struct {
	origin string
	keyID  [4]byte
	public ed25519.PublicKey
	key    ed25519.PrivateKey // nil: it can only verify
}

const ed25519Type = 0x01

// NewSigner returns the signer of a log.
func NewSigner(origin string, key ed25519.PrivateKey) *Signer {
	s := NewReader(origin, key.Public().(ed25519.PublicKey))
	s.key = key
	return s
}

// NewReader returns a signer of a log that verifies and cannot sign.
func NewReader(origin string, public ed25519.PublicKey) *Signer {
	s := &Signer{origin: origin, public: public}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", origin)
	h.Write([]byte{ed25519Type})
	h.Write(public)
	copy(s.keyID[:], h.Sum(nil))
	return s
}

// VKey returns the verifier key in the form <origin>+<key ID>+<key> (C2SP signed-note).
func (s *Signer) VKey() string {
	pub := append([]byte{ed25519Type}, s.public...)
	return fmt.Sprintf("%s+%x+%s", s.origin, s.keyID, base64.StdEncoding.EncodeToString(pub))
}

// Signs reports whether it has the private key; without it, Sign must not be called.
func (s *Signer) Signs() bool { return s.key != nil }

// Sign returns the Ed25519 signature of the checkpoint that has this size and root.
func (s *Signer) Sign(size uint64, root tile.Hash) (sig [ed25519.SignatureSize]byte) {
	copy(sig[:], ed25519.Sign(s.key, s.text(size, root)))
	return sig
}

// Verify reports whether Sign made the signature.
func (s *Signer) Verify(size uint64, root tile.Hash, sig [ed25519.SignatureSize]byte) bool {
	return ed25519.Verify(s.public, s.text(size, root), sig[:])
}

func (s *Signer) text(size uint64, root tile.Hash) []byte {
	var buf [256]byte
	return Checkpoint{s.origin, size, root}.AppendText(buf[:0])
}

// Note returns the signed note of a checkpoint and its signature.
func (s *Signer) Note(size uint64, root tile.Hash, sig [ed25519.SignatureSize]byte) []byte {
	b := append(s.text(size, root), "\n— "...)
	b = append(append(b, s.origin...), ' ')
	raw := append(s.keyID[:len(s.keyID):len(s.keyID)], sig[:]...)
	return append(base64.StdEncoding.AppendEncode(b, raw), '\n')
}

// NewVerifier reads a verifier key; its name must be the origin of the log that it is for.
func NewVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("couldn't read verifier key: %w", err)
	}
	return v, nil
}

// PublicKey returns the key in a verifier key, and the origin that stands with it.
func PublicKey(vkey string) (origin string, public ed25519.PublicKey, err error) {
	v, err := NewVerifier(vkey)
	if err != nil {
		return "", nil, err
	}
	parts := strings.SplitN(vkey, "+", 3) // base64 may hold a plus
	b, err := strict(parts[2])
	if err != nil || len(b) != 1+ed25519.PublicKeySize || b[0] != ed25519Type {
		return "", nil, errors.New("couldn't read verifier key: it is no Ed25519 key")
	}
	return v.Name(), b[1:], nil
}

// OpenCheckpoint verifies a signed checkpoint of the log whose key and origin the verifier has. Signatures of other keys,
// such as cosignatures of witnesses, may stand beside it and are not judged.
func OpenCheckpoint(signed []byte, v note.Verifier) (Checkpoint, error) {
	n, err := note.Open(signed, note.VerifierList(v))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("couldn't open checkpoint: %w", err)
	}
	if err := oneSpelling(signed); err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != v.Name() {
		return Checkpoint{}, fmt.Errorf("a checkpoint of %q is signed by the key of %q", c.Origin, v.Name())
	}
	return c, nil
}

// oneSpelling refuses signature lines whose base64 could be written differently, which note.Open lets pass.
func oneSpelling(signed []byte) error {
	s := string(signed)
	_, lines, _ := strings.Cut(s[strings.LastIndex(s, "\n\n")+1:], "\n")
	for line := range strings.Lines(lines) {
		at := strings.LastIndexByte(line, ' ')
		raw, err := strict(strings.TrimSuffix(line[at+1:], "\n"))
		if err != nil || len(raw) < 5 {
			return errors.New("a signature line of a checkpoint is malformed")
		}
	}
	return nil
}

// Commit is one group commit of the ledger: the leaf of the log of commits.
type Commit struct {
	Seq   uint64 // of all commits, over all years; the first has 1
	Time  int64  // µs since 1970 UTC
	Heads uint32 // how many logs it touched
	Root  tile.Hash
}

// CommitSize is the length of a commit's leaf in bytes.
const CommitSize = 64

const commitVersion = 1

// Bytes returns the leaf: version 1, three zero bytes, heads (uint32), sequence (uint64), time (int64), root, eight zero
// bytes; big endian.
func (c Commit) Bytes() []byte {
	b := make([]byte, CommitSize)
	b[0] = commitVersion
	binary.BigEndian.PutUint32(b[4:], c.Heads)
	binary.BigEndian.PutUint64(b[8:], c.Seq)
	binary.BigEndian.PutUint64(b[16:], uint64(c.Time))
	copy(b[24:], c.Root[:])
	return b
}

// ParseCommit reads the leaf of a commit.
func ParseCommit(b []byte) (Commit, error) {
	if len(b) != CommitSize || b[0] != commitVersion {
		return Commit{}, errors.New("not the leaf of a commit")
	}
	c := Commit{
		Heads: binary.BigEndian.Uint32(b[4:]), Seq: binary.BigEndian.Uint64(b[8:]),
		Time: int64(binary.BigEndian.Uint64(b[16:])), Root: tile.Hash(b[24:56]),
	}
	if string(c.Bytes()) != string(b) {
		return Commit{}, errors.New("a commit's unused bytes are not zero")
	}
	return c, nil
}

// HeadLeaf is the leaf of one log's head in the tree over the heads that a commit touched: its checkpoint text, hashed.
func HeadLeaf(origin string, size uint64, root tile.Hash) tile.Hash {
	var buf [256]byte
	return tile.Leaf(Checkpoint{origin, size, root}.AppendText(buf[:0]))
}
