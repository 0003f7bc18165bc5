package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"filippo.io/age"

	"github.com/querschott/querschott"
)

const withdrawnFormat = "querschott-withdrawn/1"

// withdrawn is the JSON inside the age file that [Keyring.Withdraw] hands out.
type withdrawn struct {
	Format      string                 `json:"format"`
	Compartment querschott.Compartment `json:"compartment"`
	Keys        *compartmentRecord     `json:"keys"`
}

// Withdraw takes the private keys of a compartment out of the keyring, encrypted to an age recipient ("age1...") whose
// identity lies elsewhere: the second, cryptographic door, which holds even against somebody who has the node. Mail can
// still be sealed to the compartment. keep must make the age file durable; only when it returns nil are the keys removed
// here. Keys that were unlocked before stay usable until [Keys.Forget].
//
// As with [Keyring.Shred], older copies of keyring.age still have the keys.
func (k *Keyring) Withdraw(c querschott.Compartment, recipient string, keep func(ageFile []byte) error) error {
	to, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		return fmt.Errorf("couldn't withdraw compartment %s: %w", c, err)
	}
	return k.change(func(r *ring) (bool, error) {
		rec := r.Compartments[c]
		if err := rec.usable(); err != nil {
			return false, fmt.Errorf("couldn't withdraw compartment %s: %w", c, err)
		}
		plain, err := json.Marshal(withdrawn{withdrawnFormat, c, rec})
		if err != nil {
			return false, fmt.Errorf("couldn't withdraw compartment %s: %w", c, err)
		}
		defer clear(plain)
		data, err := encryptAge(plain, to)
		if err != nil {
			return false, fmt.Errorf("couldn't withdraw compartment %s: %w", c, err)
		}
		if err := keep(data); err != nil {
			return false, fmt.Errorf("couldn't keep the withdrawn keys of compartment %s: %w", c, err)
		}
		rec.strip()
		rec.Withdrawn = true
		return true, nil
	})
}

// Restore puts back what [Keyring.Withdraw] took out. from holds the identity of its recipient. Keys that do not belong
// to the public halves in the keyring are refused with [ErrTampered].
func (k *Keyring) Restore(ageFile []byte, from Unlock) error {
	id, err := from.identity()
	if err != nil {
		return err
	}
	plain, err := decryptAge(ageFile, id)
	if err != nil {
		return fmt.Errorf("couldn't restore withdrawn keys: %w", err)
	}
	defer clear(plain)
	var w withdrawn
	if err := json.Unmarshal(plain, &w); err != nil || w.Format != withdrawnFormat || w.Keys == nil {
		return errors.New("couldn't restore withdrawn keys: the file is of another form")
	}
	defer w.Keys.wipe()
	return k.change(func(r *ring) (bool, error) {
		rec := r.Compartments[w.Compartment]
		if err := rec.usable(); !errors.Is(err, ErrWithdrawn) {
			return false, fmt.Errorf("couldn't restore compartment %s: it is not withdrawn", w.Compartment)
		}
		if err := w.Keys.belongTo(rec); err != nil {
			return false, fmt.Errorf("couldn't restore compartment %s: %w", w.Compartment, err)
		}
		r.Compartments[w.Compartment] = &compartmentRecord{Index: w.Keys.Index, Versions: w.Keys.Versions}
		return true, nil
	})
}

// belongTo checks that the private halves are those of a withdrawn record. Nobody but a holder of the KEM seeds can make
// a file that passes.
func (rec *compartmentRecord) belongTo(public *compartmentRecord) error {
	if len(rec.Versions) != len(public.Versions) || len(rec.Index) != keySize {
		return ErrTampered
	}
	for i, v := range public.Versions {
		w := rec.Versions[i]
		priv, err := expandKEM(w.KEM)
		if err != nil || w.Version != v.Version || len(w.KEK) != keySize ||
			!bytes.Equal(w.Public, v.Public) || !bytes.Equal(priv.PublicKey().Bytes(), v.Public) {
			return ErrTampered
		}
	}
	return nil
}
