package console

// germanLogin returns the texts about logging in, in German.
func germanLogin() map[string]string {
	return map[string]string{
		"login.title": "Anmelden", "login.failed": "Nicht angemeldet", "login.text": "Dieser Link gilt ein einziges Mal.", "login.link": "Jetzt anmelden",
		"login.name": "Name", "login.password": "Kennwort", "login.code": "Code",
		"login.code.help": "Sechs Ziffern aus der Authenticator-App. Ist das Gerät verloren: einer der Wiederherstellungscodes.",
		"login.button":    "Anmelden", "login.or": "oder", "login.provider": "Mit %s anmelden",
		"login.first":  "Sind Sie schon angemeldet und einem Link von anderswo gefolgt? Dann laden Sie die Seite neu.",
		"login.undone": "Nicht ausgeführt: Die Sitzung ist zu Ende. Melden Sie sich wieder an.",
		"login.wrong":  "Name, Kennwort oder Code ist falsch.", "login.throttled": "Zu viele Versuche. Versuchen Sie es in %s wieder.",
		"login.bylink": "Ohne Konto, oder wenn nichts anderes geht: Ein Anmeldelink entsteht auf dem Server mit", "login.command": "querschott login", "login.invited": "Sie haben eine Einladung?",
		"login.done.title": "Angemeldet", "login.done": "Sie sind angemeldet.",
		"login.left.one":  "Sie sind mit einem Wiederherstellungscode angemeldet. Er ist verbraucht; %s ist übrig.",
		"login.left.many": "Sie sind mit einem Wiederherstellungscode angemeldet. Er ist verbraucht; %s sind übrig. Ist die Authenticator-App verloren, lassen Sie das Konto erneuern.",
		"wait.s.one":      "%s Sekunde", "wait.s.many": "%s Sekunden", "wait.min.one": "%s Minute", "wait.min.many": "%s Minuten",
		"provider.dead":     "%s antwortet nicht. Melden Sie sich mit einem lokalen Konto oder einem Anmeldelink an.",
		"provider.stranger": "Diese Anmeldung bei %s hat nicht in diesem Browser begonnen, oder vor zu langer Zeit. Beginnen Sie neu.",
		"provider.refused":  "%s hat niemanden angemeldet, der hier Operator ist.",
		"invite.title":      "Konto einrichten", "invite.token": "Einladung", "invite.token.help": "Die Zeichenfolge, die man Ihnen gegeben hat.",
		"invite.need":  "Sie brauchen eine Authenticator-App auf einem Gerät, das Sie bei sich haben. Legen Sie Papier für die Wiederherstellungscodes bereit.",
		"invite.begin": "Beginnen", "invite.app": "1. Authenticator-App", "invite.app.help": "Nehmen Sie das Bild mit der App auf, oder geben Sie den Schlüssel ein. Auf dem Gerät selbst genügt der Link.",
		"invite.picture": "Der Schlüssel als QR-Code", "invite.secret": "Schlüssel", "invite.open": "In der App öffnen", "invite.account": "Konto",
		"invite.set": "2. Kennwort und erster Code", "invite.password": "Neues Kennwort", "invite.password.help": "Mindestens 12 Zeichen, beliebige. Länge zählt, nicht Sonderzeichen.",
		"invite.again": "Neues Kennwort, noch einmal", "invite.now": "Code, den die App jetzt zeigt", "invite.finish": "Konto einrichten",
		"invite.codes":      "Wiederherstellungscodes",
		"invite.codes.text": "Das Konto ist eingerichtet. Schreiben Sie diese Codes ab oder drucken Sie sie, und verwahren Sie sie getrennt vom Gerät. Jeder gilt ein einziges Mal anstelle des Codes der App. Sie werden nur hier gezeigt.",
		"invite.tologin":    "Ich habe sie – zum Anmelden", "invite.restart": "Von vorn beginnen",
		"invite.unknown": "Die Einladung ist unbekannt, verbraucht oder abgelaufen. Lassen Sie sich eine neue geben.",
		"invite.late":    "Der Schlüssel wurde vor zu langer Zeit gezeigt, oder seither ein anderer. Beginnen Sie noch einmal und löschen Sie den alten Eintrag in der App.",
		"invite.differ":  "Die beiden Kennwörter sind verschieden.", "invite.short": "Das Kennwort hat weniger als 12 Zeichen.", "invite.long": "Das Kennwort ist zu lang.",
		"invite.name": "Das Kennwort darf nicht der Name des Kontos sein.", "invite.code": "Das ist nicht der Code, den die App jetzt zeigt. Stimmt die Uhr des Geräts?",
	}
}

// englishLogin returns the texts about logging in, in English.
func englishLogin() map[string]string {
	return map[string]string{
		"login.title": "Log in", "login.failed": "Not logged in", "login.text": "This link works once.", "login.link": "Log in now",
		"login.name": "Name", "login.password": "Password", "login.code": "Code",
		"login.code.help": "Six digits from the authenticator app. If the device is lost: one of the recovery codes.",
		"login.button":    "Log in", "login.or": "or", "login.provider": "Log in with %s",
		"login.first":  "Are you logged in already and followed a link from elsewhere? Then reload the page.",
		"login.undone": "Not carried out: the session is over. Log in again.",
		"login.wrong":  "Name, password or code is wrong.", "login.throttled": "Too many attempts. Try again in %s.",
		"login.bylink": "Without an account, or if nothing else works: a login link is made on the server with", "login.command": "querschott login", "login.invited": "You have an invitation?",
		"login.done.title": "Logged in", "login.done": "You are logged in.",
		"login.left.one":  "You logged in with a recovery code. It is used up; %s is left.",
		"login.left.many": "You logged in with a recovery code. It is used up; %s are left. If the authenticator app is lost, have the account renewed.",
		"wait.s.one":      "%s second", "wait.s.many": "%s seconds", "wait.min.one": "%s minute", "wait.min.many": "%s minutes",
		"provider.dead":     "%s does not answer. Log in with a local account or a login link.",
		"provider.stranger": "This login with %s did not begin in this browser, or too long ago. Begin again.",
		"provider.refused":  "%s logged in nobody who is an operator here.",
		"invite.title":      "Set up an account", "invite.token": "Invitation", "invite.token.help": "The characters that you were given.",
		"invite.need":  "You need an authenticator app on a device that you have with you. Have paper ready for the recovery codes.",
		"invite.begin": "Begin", "invite.app": "1. Authenticator app", "invite.app.help": "Scan the picture with the app, or type the key. On the device itself the link will do.",
		"invite.picture": "The key as a QR code", "invite.secret": "Key", "invite.open": "Open in the app", "invite.account": "Account",
		"invite.set": "2. Password and first code", "invite.password": "New password", "invite.password.help": "At least 12 characters, of any kind. Length counts, special characters do not.",
		"invite.again": "New password, once more", "invite.now": "Code that the app shows now", "invite.finish": "Set up the account",
		"invite.codes":      "Recovery codes",
		"invite.codes.text": "The account is set up. Write these codes down or print them, and keep them apart from the device. Each works once in place of the app’s code. They are shown only here.",
		"invite.tologin":    "I have them – log in", "invite.restart": "Begin again",
		"invite.unknown": "The invitation is unknown, used or expired. Ask for a new one.",
		"invite.late":    "The key was shown too long ago, or another one since. Begin again, and delete the old entry in the app.",
		"invite.differ":  "The two passwords differ.", "invite.short": "The password has fewer than 12 characters.", "invite.long": "The password is too long.",
		"invite.name": "The password must not be the account’s name.", "invite.code": "That is not the code that the app shows now. Is the device’s clock right?",
	}
}
