package e2e

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// snippets are the README's code blocks in a language.
func snippets(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(module(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, block := range strings.Split(string(text), "\n```"+language+"\n")[1:] {
		code, _, ended := strings.Cut(block, "\n```")
		if !ended {
			t.Fatalf("a %s block has no end", language)
		}
		found = append(found, code+"\n")
	}
	if len(found) == 0 {
		t.Fatalf("the README has no %s", language)
	}
	return found
}

func TestTheReadmesGoCanBeParsed(t *testing.T) {
	t.Parallel()
	for _, code := range snippets(t, "go") {
		if _, err := parser.ParseFile(token.NewFileSet(), "README.md", "package p\nfunc f() error {\n"+code+"\nreturn nil\n}\n", parser.AllErrors); err != nil {
			t.Errorf("%v\n%s", err, code)
		}
	}
}

func TestTheReadmesPythonCanBeParsed(t *testing.T) {
	t.Parallel()
	python := program(t, "python3", "python3")
	for _, code := range snippets(t, "python") {
		cmd := exec.Command(python, "-c", "import ast, sys; ast.parse(sys.stdin.read(), 'README.md')")
		cmd.Stdin = strings.NewReader(code)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s%s", err, out, code)
		}
	}
}

func TestTheReadmesJavaCanBeParsed(t *testing.T) {
	t.Parallel()
	javac := program(t, "javac", "default-jdk-headless")
	for _, code := range snippets(t, "java") {
		file := filepath.Join(folder(t), "Readme.java")
		writeFile(t, file, "class Readme { void readme() throws Exception {\n"+code+"\n} }\n")
		// The compiler stops behind the parser: what is imported is not here.
		cmd := exec.Command(javac, "-proc:none", "-XDshould-stop.ifNoError=PARSE", "-d", filepath.Dir(file), file)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s%s", err, out, code)
		}
	}
}
