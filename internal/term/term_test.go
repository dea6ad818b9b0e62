package term

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"usr/lib/café":                    "usr/lib/café",
		"\x1b[2J\x1b]0;title\a":           `\x1b[2J\x1b]0;title\x07`,
		"two\nlines\r\tand a tab":         `two\nlines\r\tand a tab`,
		"caf\xe9":                         `caf\xe9`,
		"\u009b31m":                       `\u009b31m`, // CSI in one character
		"exe.\u202egpj":                   `exe.\u202egpj`,
		"\u2028\u2029\ufeff\u200b":        `\u2028\u2029\ufeff\u200b`,
		"👩\u200d💻 नी क्\u200dष":           "👩\u200d💻 नी क्\u200dष",
		"e\u0301":                         "e\u0301",
		"z" + strings.Repeat("\u0301", 6): "z" + strings.Repeat("\u0301", 4) + `\u0301\u0301`,
		"\U000e0041 tag":                  `\U000e0041 tag`,
		`a\b`:                             `a\b`,
	} {
		if got := Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestColumns(t *testing.T) {
	for s, want := range map[string]int{
		"":                   0,
		"abc":                3,
		"漢字":                 4,
		"ｆｕｌｌ":               8,
		"ｶﾅ":                 2, // half width
		"한국":                 4,
		"\u1112\u1161\u11ab": 2, // the same syllable, in letters
		"e\u0301":            1,
		"🐳":                  2,
		"Ω±":                 2, // ambiguous: narrow
	} {
		if got := Columns(s); got != want {
			t.Errorf("Columns(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		s          string
		most       int
		end, start string
	}{
		{"usr/lib/x", 9, "usr/lib/x", "usr/lib/x"},
		{"usr/lib/x", 6, "usr/l…", "…lib/x"},
		{"漢字漢字", 4, "漢…", "…字"},
		{"漢字漢字", 5, "漢字…", "…漢字"},
		{"ae\u0301b", 2, "a…", "…b"},
		{"abcd", 1, "…", "…"},
		{"abcd", 0, "", ""},
	} {
		if got := Cut(c.s, c.most); got != c.end {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.s, c.most, got, c.end)
		}
		if got := CutStart(c.s, c.most); got != c.start {
			t.Errorf("CutStart(%q, %d) = %q, want %q", c.s, c.most, got, c.start)
		}
	}
}

// Whatever the bytes: what is shown is one line of the promised width.
func TestCleanCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		most := rapid.IntRange(0, 12).Draw(t, "most")
		clean := Clean(s)
		if !utf8.ValidString(clean) || strings.ContainsFunc(clean, func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }) {
			t.Fatalf("Clean(%q) = %q", s, clean)
		}
		for _, cut := range []string{Cut(clean, most), CutStart(clean, most)} {
			if got := Columns(cut); got > most || !utf8.ValidString(cut) {
				t.Fatalf("%q of %d columns, want at most %d", cut, got, most)
			}
		}
	})
}

func sample() *Table {
	table := &Table{Columns: []Column{{Head: "ID", Whole: true}, {Head: "PACKAGE"}, {Head: "SIZE", Right: true}, {Head: "PATH", End: true}}}
	table.Row(Cell{"CVE-2024-12345", Red}, Text("libssl3"), Text("12"), Text("var/lib/dpkg/status"))
	table.Row(Cell{"GHSA-1", Plain}, Text("漢字の長い名前のパッケージ"), Text("3456"), Text("srv/app/node_modules/x/package.json"))
	table.Row(Text("X"), Text("bad\x1b[31m\n"))
	return table
}

func render(t *testing.T, table *Table) string {
	t.Helper()
	var out bytes.Buffer
	n, err := table.WriteTo(&out)
	if err != nil || n != int64(out.Len()) {
		t.Fatalf("WriteTo: %d of %d bytes, %v", n, out.Len(), err)
	}
	return out.String()
}

func TestTable(t *testing.T) {
	want := strings.Join([]string{
		`ID              PACKAGE                     SIZE  PATH`,
		`CVE-2024-12345  libssl3                       12  var/lib/dpkg/status`,
		`GHSA-1          漢字の長い名前のパッケージ  3456  srv/app/node_modules/x/package.json`,
		`X               bad\x1b[31m\n`,
		"",
	}, "\n")
	if diff := cmp.Diff(want, render(t, sample())); diff != "" {
		t.Error(diff)
	}
}

func TestTableFits(t *testing.T) {
	for width, want := range map[int]string{
		60: `
ID              PACKAGE             SIZE  PATH
CVE-2024-12345  libssl3               12  …r/lib/dpkg/status
GHSA-1          漢字の長い名前の…   3456  …es/x/package.json
X               bad\x1b[31m\n
`,
		// There is no more to cut than this.
		20: `
ID              PACKAGE   SIZE  PATH
CVE-2024-12345  libssl3     12  …/status
GHSA-1          漢字の…   3456  …ge.json
X               bad\x1b…
`,
	} {
		table := sample()
		table.Width = width
		if diff := cmp.Diff(want, "\n"+render(t, table)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTableColour(t *testing.T) {
	table := sample()
	table.Colour = true
	got := render(t, table)
	if !strings.Contains(got, "\x1b[31mCVE-2024-12345\x1b[0m") || !strings.Contains(got, "\x1b[1mPACKAGE\x1b[0m") {
		t.Errorf("%q", got)
	}
	if strings.Contains(got, "\x1b[31m\n") {
		t.Error("a package's name chose a colour")
	}
	// Colours take no columns.
	plain := got
	for _, code := range []string{"\x1b[0m", "\x1b[1m", "\x1b[31m"} {
		plain = strings.ReplaceAll(plain, code, "")
	}
	if diff := cmp.Diff(render(t, sample()), plain); diff != "" {
		t.Error(diff)
	}
}

// A table of any content fits in any width that its whole columns leave room
// for, and all its lines are as wide as its head says.
func TestTableAlwaysFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := &Table{Width: rapid.IntRange(30, 60).Draw(t, "width"), Columns: []Column{{Head: "A"}, {Head: "B", End: true}, {Head: "C", Right: true}}}
		for _, row := range rapid.SliceOfN(rapid.SliceOfN(rapid.StringN(0, 30, 60), 3, 3), 1, 4).Draw(t, "rows") {
			table.Row(Text(row[0]), Text(row[1]), Text(row[2]))
		}
		var out bytes.Buffer
		if _, err := table.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if got := Columns(strings.TrimSuffix(line, "\n")); got > table.Width {
				t.Fatalf("%d columns in a table of %d: %q", got, table.Width, line)
			}
		}
	})
}

func TestProgressInPipe(t *testing.T) {
	var out bytes.Buffer
	p := NewProgress(&out, "reading", 10)
	p.Add(5)
	time.Sleep(2 * refresh)
	p.Stop()
	if out.Len() > 0 {
		t.Errorf("wrote %q", out.String())
	}
	p = nil
	p.Add(1)
	p.Label("x")
	p.Expect(1)
	p.Stop()
}

func TestProgressLine(t *testing.T) {
	start := time.Now()
	for _, c := range []struct {
		done, total int64
		after       time.Duration
		want        string
	}{
		{0, 0, 0, "x  0 B"},
		{0, 100, time.Second, "x  0 B of 100 B  0%"},
		{1 << 20, 4 << 20, 2 * time.Second, "x  1.0 MiB of 4.0 MiB  25%  512.0 KiB/s"},
		{5 << 20, 4 << 20, 0, "x  5.0 MiB of 4.0 MiB  100%"}, // the total was a guess
		{3 << 30, 0, 3 * time.Second, "x  3.0 GiB  1.0 GiB/s"},
		{1<<62 + 1, 1<<63 - 1, 0, "x  4.0 EiB of 8.0 EiB  50%"},
	} {
		p := NewProgress(io.Discard, "x", c.total)
		p.started = start
		p.Add(c.done)
		if got := p.line(start.Add(c.after)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 20 << 20: "20.0 MiB", 1<<63 - 1: "8.0 EiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
