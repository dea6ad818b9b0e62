package langpkg

import (
	"bufio"
	"bytes"
	"strings"
)

// coordinates of a Maven artifact. The group is empty where nothing tells it.
type coordinates struct{ group, artifact, version string }

func (c coordinates) whole() bool { return c.group != "" && c.artifact != "" && c.version != "" }

// readPOMProperties reads what Maven's archiver writes: a Java properties file
// of groupId, artifactId and version in META-INF/maven/GROUP/ARTIFACT/. A value
// that Maven did not resolve, such as ${revision}, is none; what a file of old
// Maven lacks of its names, its path tells.
func readPOMProperties(name string, text []byte) coordinates {
	var c coordinates
	if words := strings.Split(name, "/"); len(words) >= 5 && words[len(words)-5] == "META-INF" && words[len(words)-4] == "maven" {
		c.group, c.artifact = words[len(words)-3], words[len(words)-2]
	}
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		i := strings.IndexAny(s, "=: \t")
		if i < 0 || s[0] == '#' || s[0] == '!' {
			continue
		}
		value := strings.TrimSpace(strings.TrimLeft(s[i:], "=: \t"))
		if value == "" || strings.Contains(value, "${") {
			continue
		}
		switch s[:i] {
		case "groupId":
			c.group = value
		case "artifactId":
			c.artifact = value
		case "version":
			c.version = value
		}
	}
	return c
}

const manifestName = "META-INF/MANIFEST.MF"

// manifest is what is used of a manifest's main section.
type manifest struct {
	title, version              string // Implementation-…
	symbolicName, bundleVersion string // Bundle-…
	vendor                      string
	licenses                    []string
}

// readManifest reads the main section, which ends at the first empty line
// (JAR File Specification, "JAR Manifest"). Lines of at most 72 bytes go on
// after a line end and a space.
func readManifest(br *bufio.Reader, text []byte) manifest {
	br.Reset(bytes.NewReader(text))
	var m manifest
	var implementationVendor, bundleVendor, license string
	var key, value string
	set := func() {
		var to *string
		switch strings.ToLower(key) {
		case "implementation-title":
			to = &m.title
		case "implementation-version":
			to = &m.version
		case "bundle-symbolicname":
			to = &m.symbolicName
			value, _, _ = strings.Cut(value, ";")
		case "bundle-version":
			to = &m.bundleVersion
		case "implementation-vendor":
			to = &implementationVendor
		case "bundle-vendor":
			to = &bundleVendor
		case "bundle-license":
			to = &license
		default:
			return
		}
		if value = strings.TrimSpace(value); strings.Contains(value, "${") || len(value) > longest {
			value = "" // what a build tool should have put in
		}
		*to = value
	}
	for {
		line, _, err := readLine(br)
		if err != nil || len(line) == 0 {
			break
		}
		if line[0] == ' ' {
			if len(value) <= longest { // imports of a bundle may be very long
				value += string(line[1:])
			}
			continue
		}
		set()
		key, value, _ = strings.Cut(string(line), ":")
		value = strings.TrimPrefix(value, " ")
	}
	set()
	m.vendor = implementationVendor
	if m.vendor == "" {
		m.vendor = bundleVendor
	}
	// Bundle-License: Apache-2.0;link="…",MIT
	for l := range strings.SplitSeq(license, ",") {
		l, _, _ = strings.Cut(l, ";")
		if l = strings.Trim(strings.TrimSpace(l), `"`); l != "" {
			m.licenses = append(m.licenses, l)
		}
	}
	return m
}

// identify says what the archive itself is: one of the packages that
// pom.properties in it describe, or, if it seems none of them, what its manifest
// and its file name say; no coordinates if they do not say it.
//
// Names: the file name is the artifact's wherever a build tool or repository
// named the file, and a title is often prose, so a file name with a version
// comes first, then a title. Versions: the manifest's, as it stays when a file
// is renamed. Groups are never guessed: they come from a Maven directory in the
// archive or from knownGroup, or stay empty.
func identify(file coordinates, m manifest, packages, described []coordinates) coordinates {
	if c, ok := describes(file, m, packages); ok {
		return c
	}
	c := file
	switch {
	case startsWithDigit(m.version):
		if i := strings.Index(c.artifact, "-"+m.version); i > 0 { // behind it a variant that splitName does not know
			c.artifact = c.artifact[:i]
		}
		if !strings.HasPrefix(file.version, m.version+".") { // 2.5 in the manifest of 2.5.6
			c.version = m.version
		}
	case file.version != "":
	case startsWithDigit(m.bundleVersion):
		c.version = m.bundleVersion
	default:
		return coordinates{}
	}
	for _, d := range described {
		if sameName(d.artifact, c.artifact) || len(packages) == 0 && len(described) == 1 {
			c.group, c.artifact = d.group, d.artifact
			return c
		}
	}
	if file.version == "" && c.group == "" && plausible(m.title) {
		c.artifact = m.title
	}
	return c
}

// describes finds the package that is the archive itself.
func describes(file coordinates, m manifest, packages []coordinates) (coordinates, bool) {
	for _, p := range packages {
		if sameName(p.artifact, file.artifact) || sameName(p.artifact, m.title) || endsWithName(m.symbolicName, p.artifact) {
			return p, true
		}
	}
	// Renamed: a package of the manifest's version, one with a word added to its
	// name (wagon-http-shaded), or the only one where nothing contradicts it.
	for _, p := range packages {
		if p.version == file.version && strings.HasPrefix(file.artifact, p.artifact+"-") ||
			m.version != "" && p.version == m.version || m.bundleVersion != "" && sameVersion(m.bundleVersion, p.version) {
			return p, true
		}
	}
	if len(packages) == 1 && m.version == "" && m.bundleVersion == "" && (file.version == "" || file.version == packages[0].version) {
		return packages[0], true
	}
	return coordinates{}, false
}

// endsWithName tells a bundle's name, org.apache.commons.cli, that is an
// artifact's with something before it.
func endsWithName(bundle, artifact string) bool {
	i := len(bundle) - len(artifact)
	return i == 0 && sameName(bundle, artifact) || i > 0 && bundle[i-1] == '.' && sameName(bundle[i:], artifact)
}

// sameName compares names, whatever stands between their words.
func sameName(a, b string) bool {
	if len(a) != len(b) || a == "" {
		return false
	}
	plain := func(s string) string {
		return strings.ToLower(strings.NewReplacer("-", ".", "_", ".", " ", ".").Replace(s))
	}
	return plain(a) == plain(b)
}

// sameVersion compares a bundle's version, which has three numbers and a dot
// before the qualifier, with Maven's: 31.1.0.jre is 31.1-jre, 1.2.0 is 1.2.
func sameVersion(bundle, version string) bool {
	b, v := strings.Split(bundle, "."), strings.FieldsFunc(version, func(r rune) bool { return r == '.' || r == '-' })
	for len(b) > 0 && len(v) > 0 && b[0] == v[0] {
		b, v = b[1:], v[1:]
	}
	for len(b) > 0 && b[0] == "0" {
		b = b[1:]
	}
	for len(b) > 0 && len(v) > 0 && b[0] == v[0] {
		b, v = b[1:], v[1:]
	}
	return len(b) == 0 && len(v) == 0
}

// splitName splits artifact-1.2.3 into its parts; without a version the whole
// is the name. The version begins at the last word with a digit in front; where
// that is a build number or a time, at the word before it
// (1.0-20240102.030405-1). Of words behind it, those that belong to versions
// are kept (31.1-jre) and those that name a variant (linux-x86_64) are not.
func splitName(stem string) (artifact, version string) {
	end := len(stem) // of the version
	for at := len(stem); ; {
		i := strings.LastIndexByte(stem[:at], '-')
		if i <= 0 {
			break
		}
		word := stem[i+1 : at]
		switch {
		case startsWithDigit(word):
			artifact, version = stem[:i], stem[i+1:end]
			if number, _, _ := strings.Cut(word, "."); len(number) < 8 && len(number) < len(word) {
				return artifact, version
			}
		case version != "":
			return artifact, version
		case variant(word):
			end = i
		case !qualifier(word):
			return stem, ""
		}
		at = i
	}
	if version == "" {
		return stem, ""
	}
	return artifact, version
}

// variant tells words that name a variant of the same version.
func variant(word string) bool {
	switch strings.ToLower(word) {
	case "linux", "windows", "osx", "x86_64", "aarch_64", "all", "shaded", "fat", "uber", "exec", "standalone", "tests", "sources":
		return true
	}
	return false
}

// qualifier tells words that are the end of a version.
func qualifier(word string) bool {
	word = strings.ToLower(word)
	for _, q := range []string{"snapshot", "release", "final", "ga", "jre", "android", "incubating", "alpha", "beta", "rc", "cr", "m", "sp", "b"} {
		if rest, ok := strings.CutPrefix(word, q); ok && strings.Trim(rest, ".0123456789") == "" {
			return true
		}
	}
	return false
}

func startsWithDigit(s string) bool {
	return s != "" && s[0] >= '0' && s[0] <= '9' && !strings.ContainsAny(s, " \t")
}

// plausible tells a title that may be an artifact's name from prose.
func plausible(title string) bool {
	if title == "" {
		return false
	}
	return strings.Trim(title, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == ""
}

// knownGroup names the group of artifacts that many images carry and whose jars
// do not tell it, because they are not built with Maven, and the directory that
// their classes are in. These are facts of Maven Central; a group counts only
// if the archive has such classes.
func knownGroup(artifact string) (group, classes string) {
	const spring, springClasses = "org.springframework", "org/springframework/"
	if module, ok := strings.CutPrefix(artifact, "spring-"); ok {
		switch family, _, _ := strings.Cut(module, "-"); family {
		case "boot", "security":
			return spring + "." + family, springClasses + family + "/"
		}
		switch module {
		case "aop", "aspects", "beans", "context", "context-indexer", "context-support", "core", "expression", "instrument",
			"jcl", "jdbc", "jms", "messaging", "orm", "oxm", "r2dbc", "test", "tx", "web", "webflux", "webmvc", "websocket":
			return spring, springClasses
		}
		return "", ""
	}
	switch {
	case strings.HasPrefix(artifact, "tomcat-embed-"):
		return "org.apache.tomcat.embed", "org/apache/"
	case strings.HasPrefix(artifact, "bc"):
		switch _, target, _ := strings.Cut(artifact, "-"); target {
		case "jdk15on", "jdk15to18", "jdk18on":
			return "org.bouncycastle", "org/bouncycastle/"
		}
	case artifact == "kotlin-stdlib" || strings.HasPrefix(artifact, "kotlin-stdlib-"):
		return "org.jetbrains.kotlin", "kotlin/"
	case strings.HasPrefix(artifact, "commons-"):
		// Group and artifact are the same in all that Ant and Maven 1 built.
		switch module := strings.TrimPrefix(artifact, "commons-"); module {
		case "beanutils", "collections", "digester", "fileupload", "httpclient", "io", "jelly", "lang", "logging":
			return artifact, "org/apache/commons/" + module + "/"
		}
	case artifact == "xercesImpl":
		return "xerces", "org/apache/xerces/"
	case artifact == "h2":
		return "com.h2database", "org/h2/"
	case artifact == "dom4j":
		return "dom4j", "org/dom4j/"
	case artifact == "mysql-connector-java":
		return "mysql", "com/mysql/"
	case artifact == "mysql-connector-j":
		return "com.mysql", "com/mysql/"
	case artifact == "ant":
		return "org.apache.ant", "org/apache/tools/ant/"
	case artifact == "okhttp":
		return "com.squareup.okhttp3", "okhttp3/"
	case artifact == "okio" || artifact == "okio-jvm":
		return "com.squareup.okio", "okio/"
	}
	return "", ""
}
