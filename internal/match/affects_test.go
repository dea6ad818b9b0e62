package match

import (
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll"
)

func ranges(kind string, events ...plimsoll.Event) []plimsoll.Range {
	return []plimsoll.Range{{Type: kind, Events: events}}
}

func introduced(v string) plimsoll.Event   { return plimsoll.Event{Introduced: v} }
func fixedIn(v string) plimsoll.Event      { return plimsoll.Event{Fixed: v} }
func lastAffected(v string) plimsoll.Event { return plimsoll.Event{LastAffected: v} }
func limit(v string) plimsoll.Event        { return plimsoll.Event{Limit: v} }

// TestAffects walks the rules on made-up entries; TestRecords has real ones.
func TestAffects(t *testing.T) {
	npm := func(events ...plimsoll.Event) []plimsoll.Affected {
		return []plimsoll.Affected{{Ecosystem: "npm", Ranges: ranges("SEMVER", events...)}}
	}
	pairs := npm(introduced("1.0.0"), fixedIn("1.5.0"), introduced("2.0.0"), fixedIn("2.3.0"))
	// The same events in no order.
	shuffled := npm(fixedIn("2.3.0"), introduced("1.0.0"), introduced("2.0.0"), fixedIn("1.5.0"))
	for _, tt := range []struct {
		name     string
		entries  []plimsoll.Affected
		affected string // versions, each with =FIXED
		safe     string
	}{
		{"from the beginning", npm(introduced("0"), fixedIn("1.2.3")), "0.0.0-alpha=1.2.3 1.2.2=1.2.3 1.2.3-rc.1=1.2.3", "1.2.3 1.2.4 1.2.3+build 2.0.0"},
		{"no fix", npm(introduced("0")), "0.0.1= 99.0.0=", ""},
		{"no fix from a version on", npm(introduced("2.0.0")), "2.0.0= 99.0.0=", "1.9.9 2.0.0-rc.1"},
		{"pre-releases from -0 on", npm(introduced("2.0.0-0"), fixedIn("2.0.1")), "2.0.0-0=2.0.1 2.0.0-rc.1=2.0.1 2.0.0=2.0.1", "1.9.9 2.0.1"},
		{"several pairs", pairs, "1.0.0=1.5.0 1.4.9=1.5.0 2.0.0=2.3.0 2.2.9=2.3.0", "0.9.9 1.5.0 1.9.9 2.3.0 3.0.0"},
		{"several pairs out of order", shuffled, "1.0.0=1.5.0 1.4.9=1.5.0 2.0.0=2.3.0 2.2.9=2.3.0", "0.9.9 1.5.0 1.9.9 2.3.0 3.0.0"},
		{"last affected is affected", npm(introduced("0"), lastAffected("1.2.3")), "1.2.3= 0.1.0=", "1.2.4 2.0.0-rc.1 2.0.0"},
		{"last affected, then a new line", npm(introduced("0"), lastAffected("1.2.3"), introduced("2.0.0"), fixedIn("2.1.0")), "1.2.3=2.1.0 2.0.0=2.1.0", "1.9.9 2.1.0"},
		{"one version", npm(introduced("1.2.3"), lastAffected("1.2.3")), "1.2.3=", "1.2.2 1.2.4"},
		{"no version", npm(introduced("1.2.3"), fixedIn("1.2.3")), "", "1.2.2 1.2.3 1.2.4"},
		{"adjoining pairs", npm(introduced("0"), fixedIn("1.0.0"), introduced("1.0.0"), fixedIn("2.0.0")), "0.9.0=2.0.0 1.0.0=2.0.0", "2.0.0"},
		{"limit", npm(introduced("1.0.0"), limit("2.0.0")), "1.0.0= 1.9.9=", "0.9.9 2.0.0 3.0.0"},
		{"several limits", npm(introduced("1.0.0"), limit("2.0.0"), limit("1.5.0")), "1.9.9=", "2.0.0"},
		{"no limit", npm(introduced("1.0.0"), limit("*")), "99.0.0=", "0.9.9"},
		{"listed", []plimsoll.Affected{{Ecosystem: "npm", Versions: []string{"1.2.3", "2.0.0"}}}, "1.2.3= 2.0.0=", "1.2.4 2.0.0-rc.1"},
		{"listed or in range", []plimsoll.Affected{{Ecosystem: "npm", Versions: []string{"9.9.9"}, Ranges: ranges("SEMVER", introduced("0"), fixedIn("1.0.0"))}}, "9.9.9= 0.5.0=1.0.0", "1.0.0 9.9.8"},
		{"listed in another spelling", []plimsoll.Affected{{Ecosystem: "PyPI", Versions: []string{"1.0"}}}, "1.0.0= 1= v1.0=", "1.0.1 1.0.post1"},
		{"two entries", append(npm(introduced("1.0.0"), fixedIn("1.5.0")), npm(introduced("1.5.0"), fixedIn("1.6.0"))...), "1.1.0=1.6.0 1.5.5=1.6.0", "1.6.0"},
		{"the nearest fix above", append(npm(introduced("2.0.0"), fixedIn("2.3.0")), npm(introduced("0"), fixedIn("1.5.0"))...), "1.0.0=1.5.0 2.1.0=2.3.0", "1.7.0"},
		{"GIT", []plimsoll.Affected{{Ecosystem: "npm", Ranges: ranges("GIT", introduced("0"))}}, "", "1.0.0"},
		{"Debian, unfixed", []plimsoll.Affected{{Ecosystem: "Debian:12", Ranges: ranges("ECOSYSTEM", introduced("0"))}}, "0~rc1= 252.39-1~deb12u1=", ""},
		{"Debian, epoch", []plimsoll.Affected{{Ecosystem: "Debian:12", Ranges: ranges("ECOSYSTEM", introduced("0"), fixedIn("1:1.0-1"))}}, "9.9-1=1:1.0-1 1:0.9-1=1:1.0-1", "1:1.0-1+b1 2:0.1-1"},
		{"semver wins over the ecosystem's order", []plimsoll.Affected{{Ecosystem: "PyPI", Ranges: ranges("SEMVER", introduced("0"), fixedIn("1.0.0"))}}, "1.0.0-1=1.0.0", "1.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for field := range strings.FieldsSeq(tt.affected) {
				v, fix, _ := strings.Cut(field, "=")
				got, err := Affects(tt.entries, v)
				if err != nil || !got.Affected || got.Fixed != fix || got.Why == "" {
					t.Errorf("%s: %+v, %v, want affected and fixed in %q", v, got, err, fix)
				}
			}
			for v := range strings.FieldsSeq(tt.safe) {
				if got, err := Affects(tt.entries, v); err != nil || got != (Verdict{}) {
					t.Errorf("%s: %+v, %v, want not affected", v, got, err)
				}
			}
		})
	}
}

func TestAffectsCannotCompare(t *testing.T) {
	inRange := []plimsoll.Affected{{Ecosystem: "Debian:12", Ranges: ranges("ECOSYSTEM", introduced("0"), fixedIn("1.0"))}}
	if v, err := Affects(inRange, "x:y"); err == nil || v.Affected {
		t.Errorf("a version that is none: %+v, %v", v, err)
	}
	unknown := []plimsoll.Affected{{Ecosystem: "Atlantis", Versions: []string{"1.0"}, Ranges: ranges("ECOSYSTEM", introduced("0.1"))}}
	if v, err := Affects(unknown, "2.0"); err == nil || v.Affected {
		t.Errorf("an ecosystem without an order: %+v, %v", v, err)
	}
	if v, err := Affects(unknown, "1.0"); err != nil || !v.Affected {
		t.Errorf("listed in an ecosystem without an order: %+v, %v", v, err)
	}
}

func TestWhy(t *testing.T) {
	entry := plimsoll.Affected{Ecosystem: "npm", Versions: []string{"9.9.9"}, Ranges: ranges("SEMVER", introduced("0"), fixedIn("1.5.0"), introduced("2.0.0"), lastAffected("2.3.0"))}
	for v, want := range map[string]string{
		"9.9.9": "9.9.9 is listed",
		"1.0.0": "1.0.0 is in the range any version, < 1.5.0 or >= 2.0.0, <= 2.3.0",
	} {
		if got, err := Affects([]plimsoll.Affected{entry}, v); err != nil || got.Why != want {
			t.Errorf("%s: %q, %v, want %q", v, got.Why, err, want)
		}
	}
}

// FuzzAffects: any entry and any version get a verdict, and what is called
// fixed is not affected.
func FuzzAffects(f *testing.F) {
	f.Add("npm", "1.2.3", "0", "1.5.0", "2.0.0", "2.3.0")
	f.Add("Debian:12", "7.88.1-10+deb12u3", "0", "7.88.1-10+deb12u4", "", "")
	f.Add("PyPI", "3.2.1", "3.2", "3.2.19", "4.0", "4.1.9")
	f.Add("Alpine:v3.21", "1.6.44-r0", "0", "1.6.54-r0", "", "")
	f.Add("Maven", "2.14.1", "2.0-beta9", "2.15.0", "", "")
	f.Fuzz(func(t *testing.T, ecosystem, installed, from, to, from2, to2 string) {
		var events []plimsoll.Event
		for _, e := range []plimsoll.Event{introduced(from), fixedIn(to), introduced(from2), fixedIn(to2)} {
			if e != (plimsoll.Event{}) {
				events = append(events, e)
			}
		}
		entries := []plimsoll.Affected{{Ecosystem: ecosystem, Ranges: ranges("ECOSYSTEM", events...)}}
		v, err := Affects(entries, installed)
		if err != nil {
			return
		}
		if v.Fixed != "" {
			if !v.Affected {
				t.Errorf("%q is not affected but fixed in %q", installed, v.Fixed)
			}
			if again, err := Affects(entries, v.Fixed); err != nil || again.Affected {
				t.Errorf("%q is fixed in %q, which is affected (%v)", installed, v.Fixed, err)
			}
		}
	})
}
