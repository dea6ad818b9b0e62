package advisory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/plimsoll/plimsoll"
)

// An advisory's body is JSON, deflated with a preset dictionary: records are
// short and alike, so the dictionary halves what deflate alone leaves. Changing
// a byte of it makes another Schema.
const dictionary = `"database_specific":"withdrawn":"0001-01-01T00:00:00Z","critical","high","medium","low","negligible"` +
	`This vulnerability allows an attacker to cause a denial of service (application crash) or execute arbitrary code via a crafted ` +
	`remote attackers In the Linux kernel, the following vulnerability has been resolved:\n\n` +
	`Users are recommended to upgrade to version which fixes the issue. versions before prior to could ### Impact ### Patches ### Workarounds ### References ` +
	`https://security-tracker.debian.org/tracker/CVE-https://security.alpinelinux.org/vuln/CVE-https://ubuntu.com/security/notices/USN-` +
	`https://errata.almalinux.org/8/ALSA-https://bugzilla.redhat.com/show_bug.cgi?id=https://access.redhat.com/security/cve/CVE-https://access.redhat.com/errata/RHSA-` +
	`https://pkg.go.dev/vuln/GO-https://rustsec.org/advisories/RUSTSEC-https://crates.io/crates/https://pypi.org/project/https://git.kernel.org/stable/c/` +
	`https://www.npmjs.com/package/https://groups.google.com/https://lists.debian.org/https://security.gentoo.org/glsa/https://lists.fedoraproject.org/` +
	`"severity":[{"type":"GHSA","score":"MODERATE"},{"type":"GHSA","score":"HIGH"},{"type":"BIT","score":"Medium"},{"type":"ALSA","score":"Important"},` +
	`{"type":"CVSS_V4","score":"CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"},` +
	`{"type":"CVSS_V3","score":"CVSS:3.0/AV:L/AC:H/PR:L/UI:R/S:C/C:L/I:L/A:L"},{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],` +
	`"references":[{"type":"PACKAGE","url":"https://github.com/},{"type":"FIX","url":"https://github.com/ /pull/ /commit/"},{"type":"REPORT","url":"https://github.com/ /issues/` +
	`"},{"type":"WEB","url":"https://github.com/ /releases/tag/v/security/advisories/GHSA-"},{"type":"ADVISORY","url":"https://github.com/advisories/GHSA-"},` +
	`{"type":"ADVISORY","url":"https://nvd.nist.gov/vuln/detail/CVE-20"}]}` +
	`{"id":"PYSEC-20","feed":"osv","aliases":["CVE-20","GHSA-"],"upstream":["CVE-20"],"related":["CVE-20"],"summary":" vulnerability in ","details":"` +
	`"published":"2024-01-01T00:00:00Z","modified":"2025-01-01T00:00:00Z","withdrawn":"20`

// maxBody bounds what a damaged body can unpack to.
const maxBody = 4 << 20

type bodyWriter struct {
	packed bytes.Buffer
	text   bytes.Buffer
	flate  *flate.Writer
}

func newBodyWriter() *bodyWriter {
	w := &bodyWriter{}
	var err error
	if w.flate, err = flate.NewWriterDict(&w.packed, flate.BestCompression, []byte(dictionary)); err != nil {
		panic(err) // only for a level that does not exist
	}
	return w
}

// pack gives a slice that holds until the next call.
func (w *bodyWriter) pack(adv plimsoll.Advisory) ([]byte, error) {
	w.text.Reset()
	w.packed.Reset()
	e := json.NewEncoder(&w.text)
	e.SetEscapeHTML(false)
	if err := e.Encode(adv); err != nil {
		return nil, err
	}
	w.flate.Reset(&w.packed)
	if _, err := w.flate.Write(w.text.Bytes()); err != nil {
		return nil, err
	}
	if err := w.flate.Close(); err != nil {
		return nil, err
	}
	return w.packed.Bytes(), nil
}

// bodyReader unpacks bodies, for any number of goroutines. It keeps the
// inflaters, which are large, for the next body.
type bodyReader struct{ inflaters sync.Pool }

func (p *bodyReader) decode(body []byte) (plimsoll.Advisory, error) {
	r, _ := p.inflaters.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReaderDict(bytes.NewReader(nil), []byte(dictionary))
	}
	defer p.inflaters.Put(r)
	var adv plimsoll.Advisory
	if err := r.(flate.Resetter).Reset(bytes.NewReader(body), []byte(dictionary)); err != nil {
		return adv, fmt.Errorf("%w: %w", errEncoding, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxBody))
	if err != nil {
		return adv, fmt.Errorf("%w: %w", errEncoding, err)
	}
	if err := json.Unmarshal(text, &adv); err != nil {
		return adv, fmt.Errorf("%w: %w", errEncoding, err)
	}
	return adv, nil
}
