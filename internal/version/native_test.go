package version

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/plimsoll/plimsoll/internal/testenv"
)

// TestNative draws pairs from the grammars and asks the ecosystem's own tool.
// Each script reads "a b" lines and answers each with -1, 0 or 1.
func TestNative(t *testing.T) {
	maven := "/usr/share/maven/lib/maven-artifact-3.x.jar"
	for _, tt := range []struct {
		ecosystem string
		files     []string // that the program needs beside itself
		command   []string
	}{
		{"Debian", nil, []string{"sh", "-c", `while read a b; do
			if dpkg --compare-versions "$a" lt "$b"; then echo -1; elif dpkg --compare-versions "$a" eq "$b"; then echo 0; else echo 1; fi; done`}},
		{"Red Hat", nil, []string{"rpm", "--eval", `%{lua:
			for line in io.stdin:lines() do
				local a, b = line:match("(%S+) (%S+)")
				a, b = rpm.ver(a), rpm.ver(b)
				io.write(a < b and "-1\n" or a == b and "0\n" or "1\n")
			end}`}},
		{"npm", []string{"/usr/lib/node_modules/npm/node_modules/semver"}, []string{"node", "-e", `
			const semver = require("/usr/lib/node_modules/npm/node_modules/semver");
			for (const line of require("fs").readFileSync(0, "utf8").trim().split("\n"))
				console.log(semver.compare(...line.split(" ")));`}},
		{"PyPI", nil, []string{"python3", "-c", `
import sys
from pip._vendor.packaging.version import Version
for line in sys.stdin:
    a, b = map(Version, line.split())
    print((a > b) - (a < b))`}},
		{"RubyGems", nil, []string{"ruby", "-e", `STDIN.each_line { |l| a, b = l.split; puts Gem::Version.new(a) <=> Gem::Version.new(b) }`}},
		{"Packagist", nil, []string{"php", "-r", `while ($l = fgets(STDIN)) { [$a, $b] = explode(" ", trim($l));
			echo version_compare(ltrim($a, "v"), ltrim($b, "v")), "\n"; }`}},
		{"Maven", []string{maven}, []string{"java", "-cp", maven + ":/usr/share/maven/lib/*", "ask.java"}},
		{"Maven:dotted", []string{maven}, []string{"java", "-cp", maven + ":/usr/share/maven/lib/*", "ask.java"}},
	} {
		t.Run(tt.ecosystem, func(t *testing.T) {
			testenv.Need(t, tt.command[0])
			if tt.ecosystem == "Debian" {
				testenv.Need(t, "dpkg") // which sh asks
			}
			for _, f := range tt.files {
				if _, err := os.Stat(f); err != nil {
					testenv.Skip(t, "needs "+f)
				}
			}
			pairs := 3000
			if tt.ecosystem == "Debian" {
				pairs = 300 // two processes each
			}
			grammar := grammars()[tt.ecosystem]
			random := rand.New(rand.NewPCG(1, 2))
			var input bytes.Buffer
			var a, b []string
			for i := range pairs {
				a, b = append(a, grammar.pick(random.IntN)), append(b, grammar.pick(random.IntN))
				fmt.Fprintln(&input, a[i], b[i])
			}
			cmd := exec.Command(tt.command[0], tt.command[1:]...)
			cmd.Stdin = &input
			if tt.command[0] == "java" {
				cmd.Dir = t.TempDir()
				program := `import java.util.*;
import org.apache.maven.artifact.versioning.ComparableVersion;
class Ask { public static void main(String[] args) {
	Scanner in = new Scanner(System.in);
	while (in.hasNext()) {
		String a = in.next(), b = in.next();
		System.out.println(Integer.signum(new ComparableVersion(a).compareTo(new ComparableVersion(b))));
	}
} }`
				if err := os.WriteFile(filepath.Join(cmd.Dir, "ask.java"), []byte(program), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var complaint bytes.Buffer
			cmd.Stderr = &complaint
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", tt.command[0], err, &complaint)
			}
			answers := strings.Fields(string(out))
			if len(answers) != pairs {
				t.Fatalf("%s gave %d answers to %d pairs", tt.command[0], len(answers), pairs)
			}
			wrong := 0
			for i, answer := range answers {
				got, err := Compare(tt.ecosystem, a[i], b[i])
				if want := answer; fmt.Sprint(got) != want || err != nil {
					if wrong++; wrong <= 20 {
						t.Errorf("Compare(%q, %q) = %d, %v; %s says %s", a[i], b[i], got, err, tt.command[0], want)
					}
				}
			}
			if wrong > 20 {
				t.Errorf("%d of %d pairs differ", wrong, pairs)
			}
		})
	}
}
