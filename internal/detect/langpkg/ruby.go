package langpkg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// Ruby reads the specifications of installed gems, as RubyGems writes them
// into its directory specifications and, for the gems that come with Ruby
// itself, specifications/default: Ruby code of a fixed form (Gem::Specification
// to_ruby_for_cache) with the most important values in a comment before it.
// Specifications in source trees are written by people and are not read.
type Ruby struct{}

func (Ruby) Name() string { return "ruby" }
func (Ruby) Version() int { return 1 }

func (Ruby) Wants(f *plimsoll.File) bool {
	if !strings.HasSuffix(f.Base, ".gemspec") {
		return false
	}
	grand, parent := parents(f)
	return parent == "specifications" || parent == "default" && grand == "specifications"
}

// largestGemspec in bytes; the largest are a few hundred lines.
const largestGemspec = 1 << 20

// Detect implements analyze.Detector.
func (Ruby) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	b := newBuilder("ruby", "RubyGems", f)
	if content.Size() > largestGemspec {
		return b.tooLarge(content.Size(), largestGemspec), nil
	}
	g, err := readGemspec(content)
	if err != nil {
		return nil, err
	}
	if g.name == "" || g.version == "" {
		b.gap(plimsoll.Unreadable, f.Path, "a gem specification that names no gem and version; RubyGems did not write it")
		return &b.found, nil
	}
	url := packageurl.PackageURL{Type: packageurl.TypeGem, Name: g.name, Version: g.version}
	if g.platform != "" && g.platform != "ruby" {
		url.Qualifiers = packageurl.Qualifiers{{Key: "platform", Value: g.platform}}
	}
	b.add(plimsoll.Component{
		Name: g.name, Version: g.version, Licenses: g.licenses, Vendor: strings.Join(g.authors, ", "),
	}, url)
	return &b.found, nil
}

type gemspec struct {
	name, version, platform string
	licenses, authors       []string
}

// readGemspec reads the assignments to s. Where a value is no literal, that of
// the stub comment counts.
func readGemspec(r io.Reader) (*gemspec, error) {
	var g, stub gemspec
	br := bufio.NewReaderSize(r, 8<<10)
	for {
		line, _, err := readLine(br)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read gem specification: %w", err)
		}
		text := strings.TrimSpace(string(line))
		// # stub: NAME VERSION PLATFORM REQUIRE_PATHS
		if rest, ok := strings.CutPrefix(text, "# stub: "); ok && stub.name == "" {
			if words := strings.Fields(rest); len(words) >= 3 {
				stub = gemspec{name: words[0], version: words[1], platform: words[2]}
			}
			continue
		}
		rest, ok := strings.CutPrefix(text, "s.")
		if !ok {
			continue
		}
		key, value, ok := strings.Cut(rest, "=")
		if !ok {
			continue
		}
		values := rubyStrings(value)
		if len(values) == 0 {
			continue
		}
		switch strings.TrimSpace(key) {
		case "name":
			g.name = values[0]
		case "version":
			g.version = values[0]
		case "platform":
			g.platform = values[0]
		case "license", "licenses":
			g.licenses = values
		case "author", "authors":
			g.authors = values
		}
	}
	if g.name == "" {
		g.name = stub.name
	}
	if g.version == "" {
		g.version = stub.version
	}
	if g.platform == "" {
		g.platform = stub.platform
	}
	return &g, nil
}

// rubyStrings are the string literals in an expression such as "a".freeze,
// ["a".freeze, "b".freeze], Gem::Version.new("1.0") or, of old RubyGems,
// %q{a}. Only the escapes that RubyGems writes are undone.
func rubyStrings(s string) []string {
	var list []string
	for len(list) < 50 {
		i := strings.IndexAny(s, `"'%`)
		if i < 0 {
			break
		}
		end := s[i]
		s = s[i+1:]
		if end == '%' {
			if len(s) < 2 || s[0] != 'q' {
				continue
			}
			switch end = s[1]; end {
			case '{':
				end = '}'
			case '<':
				end = '>'
			case '(':
				end = ')'
			case '[':
				end = ']'
			}
			s = s[2:]
		}
		var b strings.Builder
		for i = 0; i < len(s) && s[i] != end; i++ {
			if s[i] == '\\' && i+1 < len(s) {
				i++
				if r, n := rubyRune(s[i:]); n > 0 && end == '"' {
					b.WriteRune(r)
					i += n - 1
					continue
				}
			}
			b.WriteByte(s[i])
		}
		if i == len(s) {
			break // not closed
		}
		s = s[i+1:]
		list = append(list, b.String())
	}
	return list
}

// rubyRune reads u00e9 or u{1f600}, behind a backslash, and gives the length
// of what it read.
func rubyRune(s string) (r rune, n int) {
	digits, ok := strings.CutPrefix(s, "u")
	switch {
	case !ok:
		return 0, 0
	case strings.HasPrefix(digits, "{"):
		if digits, _, ok = strings.Cut(digits[1:], "}"); !ok {
			return 0, 0
		}
		n = len(digits) + 3
	case len(digits) < 4:
		return 0, 0
	default:
		digits, n = digits[:4], 5
	}
	code, err := strconv.ParseUint(digits, 16, 31)
	if err != nil {
		return 0, 0
	}
	return rune(code), n
}
