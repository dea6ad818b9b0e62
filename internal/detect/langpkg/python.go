package langpkg

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/plimsoll/plimsoll"
)

// Python reads the core metadata of installed Python distributions
// (packaging.python.org/specifications/core-metadata): METADATA in a
// *.dist-info directory, PKG-INFO in *.egg-info or EGG-INFO, a *.egg-info file
// of distutils, and a zipped *.egg. Wheels and source archives that lie about
// are not installed.
type Python struct{}

func (Python) Name() string { return "python" }
func (Python) Version() int { return 1 }

func (Python) Wants(f *plimsoll.File) bool {
	switch f.Base {
	case "METADATA":
		return strings.HasSuffix(f.Path, ".dist-info/METADATA")
	case "PKG-INFO":
		return strings.HasSuffix(f.Path, ".egg-info/PKG-INFO") || strings.HasSuffix(f.Path, "EGG-INFO/PKG-INFO")
	}
	return strings.HasSuffix(f.Base, ".egg-info") ||
		strings.HasSuffix(f.Base, ".egg") && (len(f.Head) == 0 || bytes.HasPrefix(f.Head, []byte("PK")))
}

const (
	// largestHeader in bytes; the descriptions that old formats keep in the
	// header are the most of it.
	largestHeader = 4 << 20
	// mostEggEntries of a zipped egg.
	mostEggEntries = 200_000
)

// Detect implements analyze.Detector.
func (Python) Detect(_ context.Context, f *plimsoll.File, content *io.SectionReader) (*plimsoll.Found, error) {
	b := newBuilder("python", "PyPI", f)
	var header io.Reader = content
	if strings.HasSuffix(f.Base, ".egg") {
		info, err := eggInfo(content)
		if err != nil {
			return nil, err
		}
		header = bytes.NewReader(info)
	}
	m, err := readMetadata(header)
	if err != nil {
		return nil, fmt.Errorf("read Python metadata: %w", err)
	}
	if m.name == "" || m.version == "" {
		b.gap(plimsoll.Unreadable, f.Path, "Python metadata without a name or version")
		return &b.found, nil
	}
	author, mail := m.author, m.authorMail
	if author == "" && mail == "" {
		author, mail = m.maintainer, m.maintainerMail
	}
	b.add(plimsoll.Component{
		Name: m.name, Version: m.version, Licenses: m.licenses(), Vendor: person(author, mail),
	}, packageurl.PackageURL{Type: packageurl.TypePyPi, Name: normalPython(m.name), Version: m.version})
	return &b.found, nil
}

// eggInfo is the metadata of a zipped egg.
func eggInfo(content *io.SectionReader) ([]byte, error) {
	z, err := openZip(content)
	if err != nil {
		return nil, err
	}
	var info []byte
	entries := 0
	var u unzipper
	err = z.each(bufio.NewReader(nil), func(name []byte, e zipEntry) error {
		if entries++; entries > mostEggEntries {
			return fmt.Errorf("%w: more than %d entries", errLimit, mostEggEntries)
		}
		if string(name) != "EGG-INFO/PKG-INFO" {
			return nil
		}
		info, err = u.small(z, e, largestHeader)
		return err
	})
	if err == nil && info == nil {
		err = fmt.Errorf("%w: no EGG-INFO/PKG-INFO", errZip)
	}
	return info, err
}

// normalPython is the name under which PyPI knows a distribution (PEP 503).
func normalPython(name string) string {
	var b strings.Builder
	separated := false
	for i := 0; i < len(name); i++ {
		switch c := name[i]; c {
		case '-', '_', '.':
			separated = true
		default:
			if separated {
				b.WriteByte('-')
				separated = false
			}
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			b.WriteByte(c)
		}
	}
	if separated {
		b.WriteByte('-')
	}
	return b.String()
}

// metadata is what is used of the header.
type metadata struct {
	name, version              string
	author, authorMail         string
	maintainer, maintainerMail string
	expression, license        string
	classifiers                []string
}

// readMetadata reads the header block, in the form of a mail message. The
// first field of a name counts, as for importlib.metadata.
func readMetadata(r io.Reader) (*metadata, error) {
	limited := &io.LimitedReader{R: r, N: largestHeader}
	br := bufio.NewReaderSize(limited, 4<<10)
	m := &metadata{}
	var field *string // that a continuation line belongs to
	for {
		line, long, err := readLine(br)
		if errors.Is(err, io.EOF) {
			if limited.N == 0 {
				return nil, fmt.Errorf("a header of more than %d bytes", largestHeader)
			}
			return m, nil
		}
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			return m, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			if field == &m.license {
				m.license = "" // a licence's whole text, not its name
			}
			continue
		}
		key, value, ok := strings.Cut(string(line), ":")
		if !ok {
			return m, nil // a body without the empty line before it
		}
		value = strings.TrimSpace(value)
		field = m.field(key)
		switch {
		case strings.EqualFold(key, "Classifier"):
			if rest, ok := strings.CutPrefix(value, "License ::"); ok && len(m.classifiers) < 20 {
				m.classifiers = append(m.classifiers, rest)
			}
		case field == nil || *field != "" || value == "UNKNOWN":
		case long && (field == &m.name || field == &m.version):
			return nil, fmt.Errorf("the field %s is longer than %d bytes", key, br.Size())
		case long:
		default:
			*field = value
		}
	}
}

func (m *metadata) field(key string) *string {
	for _, f := range []struct {
		key   string
		value *string
	}{
		{"Name", &m.name}, {"Version", &m.version},
		{"Author", &m.author}, {"Author-email", &m.authorMail},
		{"Maintainer", &m.maintainer}, {"Maintainer-email", &m.maintainerMail},
		{"License-Expression", &m.expression}, {"License", &m.license},
	} {
		if strings.EqualFold(key, f.key) {
			return f.value
		}
	}
	return nil
}

// licenses prefers the SPDX expression; a License field may hold anything, so
// that the classifiers are better than a long one.
func (m *metadata) licenses() []string {
	const longName = 100
	switch {
	case m.expression != "":
		return []string{m.expression}
	case m.license != "" && len(m.license) <= longName:
		return []string{m.license}
	}
	var names []string
	for _, c := range m.classifiers {
		if i := strings.LastIndex(c, "::"); i >= 0 {
			c = c[i+len("::"):]
		}
		if c = strings.TrimSpace(c); c != "OSI Approved" {
			names = append(names, c)
		}
	}
	return names
}

// readLine reads one line without its end. Of a line longer than br's buffer
// it gives the beginning and says so. The bytes are valid until the next read.
func readLine(br *bufio.Reader) (line []byte, long bool, err error) {
	line, err = br.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, long = bytes.Clone(line), true
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = br.ReadSlice('\n')
		}
	}
	if errors.Is(err, io.EOF) && len(line) > 0 {
		err = nil
	}
	return bytes.TrimRight(line, "\r\n"), long, err
}
