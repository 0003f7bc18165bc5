package drill

import "strings"

// stems are what insurers are named after: winds, trees, trades, landscapes. No existing insurer is.
var stems = []string{
	"Nordwind", "Ostwind", "Westbrise", "Südföhn", "Passatwind", "Mistral", "Schirokko", "Borawind", "Zephir", "Boreas",
	"Monsun", "Tramontana", "Morgenbrise", "Abendbrise", "Aufwind", "Rückenwind", "Seitenwind", "Windstille", "Nordlicht", "Wetterleuchten",
	"Silbertanne", "Bergahorn", "Schwarzerle", "Weißtanne", "Hainbuche", "Feldulme", "Traubeneiche", "Vogelbeere", "Wacholder", "Moorbirke",
	"Zirbelkiefer", "Zitterpappel", "Korbweide", "Steineiche", "Kornelkirsche", "Holunder", "Douglasie", "Edelkastanie", "Mandelbaum", "Walnuss",
	"Kupferschmiede", "Seilmacher", "Böttcher", "Glasbläser", "Uhrmacher", "Buchbinder", "Köhler", "Flößer", "Leuchtturmwärter", "Orgelbauer",
	"Drechsler", "Korbmacher", "Kartographen", "Laternenanzünder", "Fährleute", "Zinngießer", "Papiermacher", "Posamentierer", "Stellmacher", "Schriftsetzer",
	"Müllerzunft", "Sternwarte", "Brückenbauer", "Torfstecher", "Perlenfischer", "Imker", "Kesselflicker", "Bogenmacher", "Mühlenbauer", "Salzsieder",
	"Hochmoor", "Moränenland", "Quellental", "Haffküste", "Steilufer", "Heidekraut", "Nebelkamm", "Talgrund", "Karstland", "Auwald",
	"Kliffküste", "Urstromtal", "Hochufer", "Binnensee", "Schilfgürtel", "Kreidefels", "Bernsteinbucht", "Leuchtfeuer", "Dünenkamm", "Wiesengrund",
	"Klippenrand", "Felsentor", "Flussmündung", "Halbinsel", "Sandbank", "Gletschertor", "Hohlweg", "Furtgrund", "Wasserscheide", "Ankergrund",
}

// sorts of insurers. The names of the real families of insurers (AOK, BKK, IKK, ...) belong to others.
var sorts = []string{"Krankenkasse", "Versichertenkasse", "Gildekasse", "Ersatzkrankenkasse", "Kasse auf Gegenseitigkeit"}

var (
	familyHeads = []string{
		"Nebel", "Tannen", "Moos", "Silber", "Kiesel", "Wolken", "Erlen", "Hasel", "Kupfer", "Schilf", "Quell", "Distel",
		"Ginster", "Farn", "Amsel", "Lerchen", "Otter", "Dachs", "Hagel", "Mohn", "Flachs", "Hopfen", "Bernstein", "Schiefer",
	}
	familyTails = []string{
		"steiger", "hauer", "winter", "sommer", "brink", "horst", "lund", "garten", "reuther", "siepen", "krug", "becker",
		"hofer", "mark", "rieder", "wanger", "linden", "stapel", "taler", "werth", "kämper", "büttel", "möller", "grün",
	}
	givens = []string{
		"Ada", "Anselm", "Antje", "Arne", "Beate", "Benno", "Birte", "Bodo", "Carla", "Cem", "Dagny", "Deniz", "Edda", "Eike",
		"Elif", "Emil", "Enno", "Esra", "Falk", "Fenja", "Frieda", "Gesa", "Gregor", "Hanno", "Heike", "Hilde", "Ida", "Ilja",
		"Imke", "Ines", "Jale", "Jana", "Jasper", "Kaja", "Karim", "Karl", "Lale", "Lena", "Levke", "Linus", "Maren", "Mats",
		"Mira", "Nele", "Nils", "Okan", "Ole", "Oskar", "Paula", "Piet", "Quirin", "Ragna", "Rieke", "Ruben", "Selma", "Silke",
		"Sönke", "Tamme", "Thea", "Tilda", "Udo", "Veit", "Wanda", "Zoe",
	}
	streets = []string{
		"Ahornstieg", "Am Alten Wehr", "Amselgrund", "Bleicherweg", "Drosselpfad", "Erlenbogen", "Fährstieg", "Gerberwall",
		"Haselweg", "Im Winkel", "Kiebitzweg", "Kupfergasse", "Laubengang", "Möwenstieg", "Otterweg", "Seilerbahn",
	}
	towns = []string{
		"Wolkenstedt", "Nebelbrück", "Silberaue", "Kieselfurt", "Farnhausen", "Otterwerder", "Ginsterode", "Quellhafen",
		"Hageldorf", "Schilfmünde", "Mohnfelde", "Tannroda am See", "Haselitz", "Bernsteinfurt", "Distelhain", "Lerchenwik",
	}
)

var ascii = strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "Ä", "ae", "Ö", "oe", "Ü", "ue", "ß", "ss", " ", "-")

// plain turns a name into what may stand in a host name or a local part.
func plain(s string) string { return strings.ToLower(ascii.Replace(s)) }

// dice is a small generator (SplitMix64) for properties that are computed when they are asked for and kept nowhere.
type dice uint64

// throw returns a generator for one thing of the world; the same seed, kind and index always throw the same.
func throw(seed uint64, kind string, index int) dice {
	d := dice(seed)
	for _, c := range []byte(kind) {
		d = dice(uint64(d)*31 + uint64(c))
		d = dice(d.next())
	}
	return dice(d.next() ^ uint64(index)*0xd1342543de82ef95)
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// n returns a number from 0 to k-1.
func (d *dice) n(k int) int { return int(d.next() % uint64(k)) }

func (d *dice) one(list []string) string { return list[d.n(len(list))] }
