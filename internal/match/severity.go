package match

import (
	"strings"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"

	"github.com/plimsoll/plimsoll"
)

// rating is how bad a vulnerability is, by all that the advisories say.
type rating struct {
	level  plimsoll.Level
	score  float64
	vector string
}

// rate weighs the ratings of one vulnerability in one package:
//
//  1. a distribution that calls it unimportant or negligible in its own
//     package has the last word;
//  2. otherwise the score of the CVSS vector, of the newest CVSS version that
//     anybody scored, the highest where several did;
//  3. otherwise the worst word that a database uses;
//  4. RustSec's informational advisories (unmaintained, unsound, notice) are
//     negligible unless somebody rated them.
func rate(ratings []plimsoll.Severity) rating {
	r := rating{level: plimsoll.Unknown}
	word := plimsoll.Unknown
	var generation int
	var negligible, informational bool
	for _, s := range ratings {
		switch s.Type {
		case "CVSS_V2", "CVSS_V3", "CVSS_V4":
			g := int(s.Type[len(s.Type)-1] - '0')
			if score, ok := scoreOf(s.Score); ok && (g > generation || g == generation && score > r.score) {
				generation, r.score, r.vector = g, score, s.Score
			}
		case "RustSec":
			informational = true
		default:
			l := levelOf(s.Score)
			if l.Rank() < word.Rank() {
				word = l
			}
			if l == plimsoll.Negligible && (s.Type == "Debian" || s.Type == "Ubuntu") {
				negligible = true
			}
		}
	}
	switch {
	case negligible:
		r.level = plimsoll.Negligible
	case generation > 0:
		r.level = levelOfScore(generation, r.score)
	case word != plimsoll.Unknown:
		r.level = word
	case informational:
		r.level = plimsoll.Negligible
	}
	return r
}

// scoreOf computes the base score of a vector of any CVSS version; for version
// 4, the score over all metrics that the vector gives, as that version has it.
func scoreOf(vector string) (float64, bool) {
	switch {
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		if v, err := gocvss40.ParseVector(vector); err == nil {
			return v.Score(), true
		}
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		if v, err := gocvss31.ParseVector(vector); err == nil {
			return v.BaseScore(), true
		}
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		if v, err := gocvss30.ParseVector(vector); err == nil {
			return v.BaseScore(), true
		}
	default:
		if v, err := gocvss20.ParseVector(vector); err == nil {
			return v.BaseScore(), true
		}
	}
	return 0, false
}

// levelOfScore is the qualitative scale of first.org/cvss/v3.1 and v4.0, and
// for version 2, which has none, that of NVD.
func levelOfScore(generation int, score float64) plimsoll.Level {
	switch {
	case generation == 2 && score >= 7:
		return plimsoll.High
	case score >= 9:
		return plimsoll.Critical
	case score >= 7:
		return plimsoll.High
	case score >= 4:
		return plimsoll.Medium
	case score > 0:
		return plimsoll.Low
	}
	return plimsoll.Negligible
}

// levelOf translates the words of GitHub, Debian, Ubuntu, Red Hat and those who
// follow it, and Bitnami. Debian stars what it took over from NVD: "high**".
func levelOf(word string) plimsoll.Level {
	switch strings.ToLower(strings.TrimRight(strings.TrimSpace(word), "*")) {
	case "critical":
		return plimsoll.Critical
	case "high", "important":
		return plimsoll.High
	case "medium", "moderate":
		return plimsoll.Medium
	case "low":
		return plimsoll.Low
	case "negligible", "unimportant", "none":
		return plimsoll.Negligible
	}
	return plimsoll.Unknown
}
