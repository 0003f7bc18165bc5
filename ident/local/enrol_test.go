package local

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/querschott/querschott"
	"github.com/querschott/querschott/internal/disk/crashdisk"
)

func TestChangePassword(t *testing.T) {
	h := newHouse(t)
	anna := h.operator(t, "anna")
	l := h.in(t, h.attempt(anna))
	h.clk.advance(time.Minute)
	const next = "ein anderes, langes Passwort"
	wrong := h.attempt(anna)
	wrong.Password = "x"
	if err := h.ChangePassword(t.Context(), wrong, next); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("with a wrong password: %v", err)
	}
	if err := h.ChangePassword(t.Context(), h.attempt(anna), "short"); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("to a short password: %v", err)
	}
	h.clk.advance(time.Minute)
	if err := h.ChangePassword(t.Context(), h.attempt(anna), next); err != nil {
		t.Fatal(err)
	}
	if _, err := h.sessions.Session(l.Secret); err == nil {
		t.Error("a session of the old password goes on")
	}
	h.clk.advance(time.Minute)
	h.refused(t, "the old password", h.attempt(anna), querschott.CodeUnauthorized)
	anna.password = next
	h.in(t, h.attempt(anna))
}

func TestPasswordPolicy(t *testing.T) {
	for text, ok := range map[string]bool{
		"aaaaaaaaaaaa": true, "12 Zeichen..": true, "ぁぁぁぁぁぁぁぁぁぁぁぁ": true, strings.Repeat("x", maxPassword): true,
		"": false, "elf Zeichen": false, "ääää": false, "benutzername": false, "BenutzerName": false, "Benutzername@Kasse.example": false,
		strings.Repeat("x", maxPassword+1): false, "nicht UTF-8 \xff\xff": false,
		"u\u0308u\u0308u\u0308u\u0308u\u0308u\u0308": false, // six characters in twelve code points
	} {
		if err := checkPassword("benutzername@kasse.example", text); (err == nil) != ok || err != nil && querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("password %.30q: %v, want ok = %v", text, err, ok)
		}
	}
}

func TestPasswordFromAnotherKeyboard(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := base32Letters.DecodeString(e.Secret)
	anna := person{name: "anna", password: "Größe Müller Straße", secret: secret}
	if _, err := h.Finish(t.Context(), token, "Gro\u0308ße Mu\u0308ller Straße", h.code(anna)); err != nil {
		t.Fatal(err)
	}
	h.clk.advance(time.Minute)
	h.in(t, h.attempt(anna))
}

func TestEnrolment(t *testing.T) {
	h := newHouse(t)
	token, expires, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil || !expires.Equal(h.clk.now().Truncate(time.Second).Add(72*time.Hour)) {
		t.Fatal(expires, err)
	}
	stale, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil || e.Secret == stale.Secret {
		t.Fatal("the second factor is the same twice", err)
	}
	u, err := url.Parse(e.URI)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Querschott:anna" || u.Query().Get("secret") != e.Secret ||
		u.Query().Get("issuer") != "Querschott" || u.Query().Get("digits") != "6" || u.Query().Get("period") != "30" || u.Query().Get("algorithm") != "SHA1" {
		t.Errorf("URI %s: %v", e.URI, err)
	}
	secretOf := func(e Enrolment) person {
		b, err := base32Letters.DecodeString(e.Secret)
		if err != nil {
			t.Fatal(err)
		}
		return person{name: "anna", password: right, secret: b}
	}
	anna := secretOf(e)
	finish := func(token, password, code string, want querschott.Code) {
		t.Helper()
		if _, err := h.Finish(t.Context(), token, password, code); querschott.CodeOf(err) != want {
			t.Errorf("Finish: %v, want %s", err, want)
		}
	}
	finish("x"+token, right, h.code(anna), querschott.CodeUnauthorized)
	finish("", right, h.code(anna), querschott.CodeUnauthorized)
	finish(token, "short", h.code(anna), querschott.CodeInvalid)
	finish(token, right, h.code(secretOf(stale)), querschott.CodeInvalid)
	finish(token, right, "", querschott.CodeInvalid)
	h.refused(t, "before the enrolment", h.attempt(anna), querschott.CodeUnauthorized)
	if _, err := h.Finish(t.Context(), token, right, h.code(anna)); err != nil {
		t.Fatal(err)
	}
	h.refused(t, "with the code of the enrolment", h.attempt(anna), querschott.CodeUnauthorized)
	finish(token, right, h.code(anna), querschott.CodeUnauthorized)
	if _, err := h.Begin(token); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("a used invitation: %v", err)
	}
	if _, _, err := h.Invite(Account{Name: "ANNA", Role: querschott.RoleOperator}, "root"); querschott.CodeOf(err) != querschott.CodeConflict {
		t.Errorf("a second account of the name: %v", err)
	}
}

func TestInvitationsThatDoNotWork(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := base32Letters.DecodeString(e.Secret)
	anna := person{secret: secret}
	h.clk.advance(pendingLife)
	if _, err := h.Finish(t.Context(), token, right, h.code(anna)); querschott.CodeOf(err) != querschott.CodeInvalid {
		t.Errorf("a second factor shown half an hour ago: %v", err)
	}
	second, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Begin(token); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation that was replaced: %v", err)
	}
	h.clk.advance(72 * time.Hour)
	if _, err := h.Begin(second); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation that is over: %v", err)
	}
	third, _, err := h.Renew("anna", "root")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Disable("anna"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Begin(third); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation of a disabled account: %v", err)
	}
	for name, who := range map[string]Account{
		"no name": {Role: querschott.RoleOperator}, "odd name": {Name: "anna b", Role: querschott.RoleOperator},
		"umlaut": {Name: "müller", Role: querschott.RoleOperator}, "colon": {Name: "ad:anna", Role: querschott.RoleOperator},
		"long name": {Name: strings.Repeat("a", maxName+1), Role: querschott.RoleOperator},
		"no role":   {Name: "x"}, "role of a machine": {Name: "x", Role: querschott.RoleMachine},
		"staff of nobody": {Name: "x", Role: querschott.RoleStaff}, "operator of an insurer": {Name: "x", Role: querschott.RoleOperator, Insurer: insurer},
		"staff of what is no insurer": {Name: "x", Role: querschott.RoleStaff, Insurer: "109500968"},
		"long name to show":           {Name: "x", Role: querschott.RoleOperator, Display: strings.Repeat("x", maxDisplay+1)},
	} {
		if _, _, err := h.Invite(who, "root"); querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// TestRenewedWhileEnrolling invites again in another process, of which this one has not heard.
func TestRenewedWhileEnrolling(t *testing.T) {
	fs := crashdisk.New()
	h := open(t, fs, newClock())
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := base32Letters.DecodeString(e.Secret)
	anna := person{name: "anna", password: right, secret: secret}
	if _, _, err := open(t, fs, h.clk).Renew("anna", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Finish(t.Context(), token, right, h.code(anna)); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("an invitation that was taken back: %v", err)
	}
	h.clk.advance(time.Minute)
	h.refused(t, "after it", h.attempt(anna), querschott.CodeUnauthorized)
}

func TestEnrolmentIsShownAgain(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "anna", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	late := func(what, token, secret string) {
		t.Helper()
		_, err := h.Resume(token, secret)
		if flaw, _ := errors.AsType[Flaw](err); flaw != FlawLate || querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	late("before it was shown", token, "")
	e, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := h.Resume(token, e.Secret); err != nil || again != e {
		t.Errorf("shown again: %+v, %v, want %+v", again, err, e)
	}
	late("to somebody who has not seen it", token, strings.Repeat("A", len(e.Secret)))
	if _, err := h.Resume(token+"x", e.Secret); querschott.CodeOf(err) != querschott.CodeUnauthorized {
		t.Errorf("without an invitation: %v", err)
	}
	other, err := h.Begin(token)
	if err != nil {
		t.Fatal(err)
	}
	late("after another one was shown", token, e.Secret)
	h.clk.advance(pendingLife)
	late("too late", token, other.Secret)
}

func TestFlaws(t *testing.T) {
	h := newHouse(t)
	token, _, err := h.Invite(Account{Name: "benutzername", Role: querschott.RoleOperator}, "root")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Begin(token); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Flaw{
		"kurz": FlawShort, strings.Repeat("x", maxPassword+1): FlawLong, "Benutzername": FlawName, right: FlawCode,
	} {
		_, err := h.Finish(t.Context(), token, text, "")
		if got, _ := errors.AsType[Flaw](err); got != want || querschott.CodeOf(err) != querschott.CodeInvalid {
			t.Errorf("password %.20q without a code: %v, want %q", text, err, want)
		}
	}
}
