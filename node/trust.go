package node

import (
	"io/fs"
	"path/filepath"
	"regexp"
)

// TrustRow is what everybody should know of one kind of file in the data directory.
type TrustRow struct {
	Pattern string // path in the data directory, * stands for a name or a part of one, also none; in brackets what lies elsewhere
	Holds   string
	Lost    string // may it be lost?
	Back    string // may it be rolled back?
	Reader  string // what somebody can do who reads it
	Writer  string // what somebody can do who writes it
}

// Trust lists every file that a node writes into its data directory. The table in README.md is made from it; a test looks
// through the directory of a running demonstration for files that it does not name.
func Trust() []TrustRow {
	return []TrustRow{
		{"keyring.age", "private keys of all compartments and of the platform", "no: nothing can be opened any more; keep a backup", "only to a state with all compartments; noticed at start otherwise", "nothing without the key file", "nothing unnoticed: sealed to the key file's identity with a MAC; damage stops the start"},
		{"keyring.pub", "public keys of the compartments", "yes: made again from keyring.age", "noticed at start", "seal mail to insurers", "nothing: signed, compared with keyring.age at every unlocking"},
		{"ledger/wal/*", "the newest entries of all logs, signed heads", "no: acknowledged entries", "noticed by whoever has a newer checkpoint", "sees times, services and counts; persons are pseudonyms, details are sealed", "damage that is noticed at start or by 'ledger verify', or changes nothing, since the packs have it; cannot sign"},
		{"ledger/packs/*", "tiles, entries and sealed details of all logs", "no: the record of accesses", "noticed by 'ledger verify' and by whoever has a newer checkpoint", "as ledger/wal", "damage that 'ledger verify' finds; deleting .payload files erases details, but not those that ledger/wal still holds; all proofs stay valid"},
		{"ledger/state", "signed summary from which a start goes on", "yes: made again from the packs and the WAL", "only to what the WAL still covers", "as ledger/wal", "nothing: signed"},
		{"scope/names/*", "which pseudonym has which number in the index of who reached whom", "yes: made again from the ledger", "noticed: made again", "sees how many persons and credentials; all are pseudonyms", "nothing: noticed by digest, made again from the ledger"},
		{"scope/segments/*", "the index of who reached whom: events in seconds, by credential and by person", "yes: made again from the ledger", "noticed: what is missing is made again", "sees who reached whom when, all under pseudonyms", "nothing: under a MAC, made again from the ledger; proofs are made from the ledger"},
		{"incidents/*.case", "one incident: what happened, who decided what and why", "no: its story; the ledger keeps the digests", "noticed at start and by 'incident verify': the ledger has every digest", "reads the story and who is suspected; no insured person", "damage or a shorter story that the ledger does not confirm"},
		{"ledger/lock", "keeps a second process out", "yes", "yes", "nothing", "nothing"},
		{"cells/*/*", "what was delivered to one insurer (files of Pebble, and an inventory of them)", "no, noticed at start once its doors have been moved: restore the insurer's cell from a backup", "yes, with loss: the journal's cursor goes back with it, what the journal still has is delivered again", "sees how many persons and messages; contents are sealed per person", "delete or roll back records of one insurer; cannot forge them"},
		{"issued/*", "files of Pebble: which check numbers were issued and shown", "no: genuine numbers of the last minutes would pass for forged", "no: as if lost", "sees how many and when; persons are pseudonyms, contents are sealed", "make a genuine number pass for forged; cannot make a forged one pass for genuine"},
		{"outbox/*", "files of Pebble: notifications that wait to leave, local mailboxes", "with loss: senders repeat what had no notification", "yes: notifications are sent again", "sees how many and when; contents are sealed", "delete notifications; cannot forge them"},
		{"doors/*.order", "the order in force of one door, signed", "yes: the door is then on hold", "noticed at start: the ledger remembers epoch, state and stages; the door is then on hold", "sees states and reasons", "set a door on hold; cannot open one: opening has two operators' signatures"},
		{"break-glass/*.order", "an order under the key for emergencies, left while the node did not answer", "yes: order it again", "no: what was signed before the door was last opened is refused", "sees which door is to be shut", "delete it; cannot forge one"},
		{"break-glass/*.refused", "such an order that was refused", "yes", "-", "as above", "nothing"},
		{"doors/*.stage", "how far a door has come that opens in stages, signed by the platform", "yes: it begins with the first stage again", "to another stage that is not past the last one in the ledger", "as doors/*.order", "delete it, or put back an earlier one that lets out less"},
		{"doors/*.proposal", "an order that waits for a second operator", "yes: propose again", "yes: an older epoch is refused", "as doors/*.order", "delete a proposal"},
		{"links/*.link", "hashes of login links that are not used yet", "yes: make a new link", "no: a used link could be used again until it expires", "which operator is about to log in", "log in as any operator, and with two links open doors; the ledger shows it"},
		{"revocations.json", "the deny list: which credentials, keys and networks are refused", "no: who was shut out is let in again; the ledger has every change", "no: as if lost", "who is denied and why; an entry may name an insured person", "let in again who was shut out, or shut out anybody; the ledger does not have it then"},
		{"followed.deny", "at a gate: the deny list of the node with the book, signed by that platform", "yes: the book sends it again, and until then the gate holds every door", "yes: until the book sends the present one, and until then the gate holds every door", "as revocations.json", "delete it, or put back an older one; cannot change it: signed"},
		{"playbooks/*.json", "agreed reactions, signed by operators and insurers", "yes, with loss: import them again; the shipped ones hold credentials only", "yes, to a version that was signed once: the ledger has the hash of every import and run", "what is done about which alarm", "delete them, or put back an older one; cannot change one: signed"},
		{"runs/*.json", "what was done about which alarm, and until when", "with loss: what is held stays held until its time is over, and is released by hand", "yes: deeds are done again, which changes nothing, or asked for again", "who is suspected of what", "have somebody held who was suspected once, by a run that is not over; have a question look answered by nobody; cannot open a door"},
		{"proofs.bin", "hashes of the proofs of possession that were used in the last minutes; there only while the node is down", "yes: for some minutes callers need a nonce", "no: a proof that was stolen could be used again for some minutes", "nothing: hashes", "make a stolen proof work again for some minutes"},
		{"issuers/*.json", "the last known public keys of an issuer of tokens", "yes: fetched again", "until the issuer is reached, what it has withdrawn is believed", "nothing secret", "make the gate believe tokens of his own until the issuer is reached"},
		{"staff/*", "which codes of people's second factor were used; the key that tells known browsers", "used codes of the last minute and recovery codes work again", "used codes work again; one needs the password all the same", "who logged in when; can pass for a known browser, which is throttled apart from strangers", "make used codes work again; cannot log in without the password"},
		{"quarantine/*", "bytes of messages that were damaged in every copy", "with loss of what might be restored by hand", "yes", "nothing: sealed", "nothing"},
		{"(intake.copies)/*.seg", "the journal: what was accepted and is not yet delivered, sealed", "no: accepted mail; another copy restores it", "no: delivered mail would be delivered again and be recognised; younger mail would be lost", "sees when, for which compartment and how much; which sender only if he knows sender and message id", "delete accepted mail; cannot read or forge it: sealed, bound to its place"},
		{"(config) unlock.key", "the identity that unlocks keyring.age", "no: nothing can be opened any more", "-", "with the data directory: everything", "stop doors from opening"},
		{"(config) querschott.yaml, insurers.yaml, operators.yaml, accounts.json, staff.json", "who is an insurer, an operator, a sender, staff", "no: restore them from a backup", "yes, as far as one wants the people of that time", "names, addresses and public keys", "make himself an operator or a sender: keep them writable by the administrator only"},
		{"alarms.ndjson*", "alarms of the early warning; three older files are kept", "yes: what was seen before is not shown any more; signals of the last hour do not count together with later ones. It is synced every second: a power cut takes that much", "yes: as if lost", "who was alarmed about, and by which rule", "hide or invent alarms on the page, and for an hour after a start have a real alarm count as the second signal; what was done about real ones is in the ledger"},
		{"fed/*.ndjson*", "events that foreign sources have told; four older files of each are kept", "yes: habits in those services are not known after the next start. It is synced every second: a power cut takes that much", "yes: as if lost", "sees who accessed what kind of data of those services when, from where; persons are keyed pseudonyms, the key is in keyring.age", "after the next start, make odd behaviour in those services look usual, or usual behaviour odd; of no other service or insurer than the source's, and of no other actor unless same_ids is set"},
		{"findings.ocsf.ndjson*", "the same as OCSF, if watch.ocsf is set", "yes", "yes", "as alarms.ndjson", "as alarms.ndjson, for whoever collects the file"},
		{"canaries.json", "how many canary persons every insurer has, and how often they were replaced; no numbers of persons", "yes: 'querschott canary rotate' makes others", "with loss: canaries that were retired are canaries again", "nothing without the keyring", "take canaries away"},
		{"(status.publish) status.note, index.html, en.html, status/v2/tilage", "what the public is told of the doors, signed", "yes: written again within half a minute", "noticed by a page that runs; one that starts shows it as out of date", "nothing: it is public", "nothing of what is verified: it is signed. The other files are made from it, and whoever can write them tells their readers anything: show the page with 'status-page serve'"},
		{"control.sock", "the way in for the commands of the same user", "yes: made at start", "-", "-", "ask for states, backups and any operator's login link, and with two links open doors; the ledger shows it"},
	}
}

// UnknownFiles returns the files below a data directory that Trust does not name.
func UnknownFiles(dir string) ([]string, error) {
	var known []*regexp.Regexp
	for _, r := range Trust() {
		known = append(known, trustPattern(r.Pattern))
	}
	var unknown []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		for _, k := range known {
			if k.MatchString(filepath.ToSlash(rel)) {
				return nil
			}
		}
		unknown = append(unknown, rel)
		return nil
	})
	return unknown, err
}

var star = regexp.MustCompile(`\\\*`)

func trustPattern(p string) *regexp.Regexp {
	return regexp.MustCompile("^" + star.ReplaceAllString(regexp.QuoteMeta(p), "[^/]*") + `(\.tmp)?$`)
}
