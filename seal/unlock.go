package seal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// maxKeyFile bounds what is read as a key file, in bytes.
const maxKeyFile = 64 << 10

const ageIntro = "age-encryption.org/v1\n"

// Unlock says where a keyring's identity comes from; [KeyFile] and [Passphrase] make one.
type Unlock struct {
	path string
	ask  func() ([]byte, error) // nil: the key file is plain
}

// KeyFile takes the identity from a plain key file, one AGE-SECRET-KEY-1 line among comments. The file is read each time
// a private key is asked for and nothing of it is kept, so a node whose key file is taken away (an unplugged stick, a
// revoked mount) cannot open a door. The path is the machine's, not that of the keyring's disk.FS.
func KeyFile(path string) Unlock { return Unlock{path: path} }

// Passphrase takes the identity from a key file that is encrypted with a passphrase (age -p). The file is decrypted
// once, when the keyring is opened or created, and the identity stays in memory, because nobody is there at night to
// type it again. ask is called once; what it returns is overwritten.
func Passphrase(ask func() ([]byte, error), path string) Unlock { return Unlock{path: path, ask: ask} }

// Check reports why the key file cannot be used, nil if it can. Whether it is that of a keyring shows when that is opened.
func (u Unlock) Check() error {
	_, err := u.identity()
	return err
}

// identity reads the key file.
func (u Unlock) identity() (*age.X25519Identity, error) {
	data, err := readKeyFile(u.path)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	encrypted := bytes.HasPrefix(data, []byte(ageIntro))
	switch {
	case u.ask == nil && encrypted:
		return nil, fmt.Errorf("key file %s is encrypted with a passphrase, and none was arranged for", u.path)
	case u.ask != nil && !encrypted:
		return nil, fmt.Errorf("key file %s should be encrypted with a passphrase and is not", u.path)
	case u.ask != nil:
		plain, err := u.decrypt(data)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		data = plain
	}
	ids, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("key file %s holds no age identity", u.path) // the cause may quote the line
	}
	id, ok := ids[0].(*age.X25519Identity)
	if !ok || len(ids) != 1 {
		return nil, fmt.Errorf("key file %s must hold exactly one X25519 identity", u.path)
	}
	return id, nil
}

func (u Unlock) decrypt(data []byte) ([]byte, error) {
	pass, err := u.ask()
	if err != nil {
		return nil, fmt.Errorf("couldn't get the passphrase of key file %s: %w", u.path, err)
	}
	defer clear(pass)
	id, err := age.NewScryptIdentity(string(pass))
	if err != nil {
		return nil, fmt.Errorf("couldn't use the passphrase of key file %s: %w", u.path, err)
	}
	plain, err := decryptAge(data, id)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", u.path, err)
	}
	return plain, nil
}

// readKeyFile opens for reading only: key files often lie on read-only mounts.
func readKeyFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open key file: %w", err)
	}
	defer f.Close()
	data := make([]byte, maxKeyFile)
	n, err := io.ReadFull(f, data)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return data[:n], nil
	case err != nil:
		return nil, fmt.Errorf("couldn't read key file: %w", err)
	default:
		clear(data)
		return nil, fmt.Errorf("key file %s is too large", path)
	}
}

// NewKeyFile makes an identity and writes it to a plain key file with mode 0600, which must not exist.
func NewKeyFile(path string) error {
	text, err := newIdentity()
	if err != nil {
		return err
	}
	defer clear(text)
	return writeKeyFile(path, text)
}

// NewPassphraseFile makes an identity and writes it, encrypted with a passphrase, to a key file with mode 0600, which
// must not exist. workFactor is the binary logarithm of scrypt's N; 0 means age's own choice, about one second.
func NewPassphraseFile(path string, passphrase []byte, workFactor int) error {
	to, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return fmt.Errorf("couldn't use the passphrase: %w", err)
	}
	if workFactor != 0 {
		to.SetWorkFactor(workFactor)
	}
	text, err := newIdentity()
	if err != nil {
		return err
	}
	defer clear(text)
	data, err := encryptAge(text, to)
	if err != nil {
		return err
	}
	return writeKeyFile(path, data)
}

// newIdentity returns the text of a key file.
func newIdentity() ([]byte, error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("couldn't make an identity: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# public key: %s\n%s\n", id.Recipient(), id)
	return []byte(b.String()), nil
}

func writeKeyFile(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't create key file: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("couldn't write key file: %w", errors.Join(err, os.Remove(path)))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("couldn't make key file durable: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("couldn't make key file durable: %w", err)
	}
	return nil
}
