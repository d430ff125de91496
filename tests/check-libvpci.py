#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check-libvpci.py SOURCE headers
   check-libvpci.py SOURCE exports FILE
   check-libvpci.py SOURCE abi
   check-libvpci.py SOURCE example PAGE

What the installed headers of libvpci in directory SOURCE declare, and whether
others say the same.  "headers" compares it with the map of symbols and with the
manual pages; "exports" compares the map with FILE, which has what "nm -D
--defined-only" says of the shared library.  Both print what is wrong and what
to do.

"abi" prints a C program that prints functions, structures and constants, line by
line, and "example" the C code in section EXAMPLE of the manual page PAGE."""
import glob
import os
import re
import sys

MAP = "lib/vpci/libvpci.map"


def read(top, name):
    with open(os.path.join(top, name), encoding="utf-8") as f:
        return f.read()


def public_headers(top):
    """Returns the names of the installed headers: "vpci/net.h" and so on."""
    found = re.search(r"vpciinclude_HEADERS = \\\n((?:.*\\\n)*.*)",
                      read(top, "include/automake.mk"))
    return re.findall(r"include/(\S+\.h)", found.group(1))


def without_comments(text):
    return re.sub(r"/\*.*?\*/", " ", text, flags=re.S)


def top_statements(text):
    """Yields what ends with a semicolon outside of braces, on one line, without
    it.  Bodies of functions are left out."""
    text = re.sub(r"#ifdef __cplusplus\n.*?#endif", "", text, flags=re.S)
    text = re.sub(r"^#(?:.*\\\n)*.*$", "", text, flags=re.M)
    begin = depth = 0
    for i, c in enumerate(text):
        depth += (c == "{") - (c == "}")
        words = " ".join(text[begin:i].split())
        if c == ";" and not depth:
            yield words
        if (not depth
                and (c == ";" or (c == "}" and re.match(r"static ", words)))):
            begin = i + 1


def functions(statements):
    """Returns the prototypes in a list of statements, by name."""
    found = {}
    for s in statements:
        name = re.match(r"(?!typedef |static )[^({]*?\b(vpci_\w+) ?\(", s)
        if name:
            found[name.group(1)] = s
    return found


def declarations(top):
    """Returns all prototypes of the installed headers, by name."""
    found = {}
    for header in public_headers(top):
        text = without_comments(read(top, "include/" + header))
        found.update(functions(top_statements(text)))
    return found


def exported(top):
    """Returns the symbols of the map, each with its version."""
    text = without_comments(read(top, MAP))
    return [(symbol, version)
            for version, body in re.findall(r"(\S+) \{(.*?)\}", text, re.S)
            for symbol in re.findall(r"(\w+);", body)]


def section(page, name):
    """Returns the literal block that section NAME of a manual page has."""
    found = re.search(r"^%s\n=+\n(.*?)(?=^\S+[^\n]*\n=+\n|\Z)" % name, page,
                      re.M | re.S)
    block = re.search(r"::\n\n((?:    .*\n|\n)+)",
                      found.group(1) if found else "")
    return re.sub(r"^    ", "", block.group(1) if block else "", flags=re.M)


def synopses(top):
    """Yields each prototype that a manual page has, with the page's name."""
    for path in sorted(glob.glob(os.path.join(top,
                                              "Documentation/*.3.rst"))):
        page = os.path.basename(path)[:-len(".rst")]
        text = section(read(top, path), "SYNOPSIS")
        for name, prototype in functions(top_statements(text)).items():
            yield page, name, prototype


def check_map(top, declared):
    symbols = [symbol for symbol, _ in exported(top)]
    for name in sorted(set(declared) - set(symbols)):
        yield ("%s() is declared but not in %s: add it to the version that "
               "comes next" % (name, MAP))
    for name in sorted(set(symbols) - set(declared)):
        yield ("%s is in %s, but no installed header declares it"
               % (name, MAP))
    for name in sorted(set(s for s in symbols if symbols.count(s) > 1)):
        yield "%s is in %s more than once" % (name, MAP)


def check_pages(top, declared):
    pages = {}
    for page, name, prototype in synopses(top):
        pages.setdefault(name, []).append(page)
        if declared.get(name, prototype) != prototype:
            yield ("%s has '%s', but the header has '%s'"
                   % (page, prototype, declared[name]))
    for name in sorted(set(declared) - set(pages)):
        yield ("%s() is in no manual page: add it to the synopsis of one, "
               "Documentation/vpci_*.3.rst, and describe it there" % name)
    for name in sorted(set(pages) - set(declared)):
        yield ("%s has %s(), which no installed header declares"
               % (pages[name][0], name))
    for name, where in sorted(pages.items()):
        if len(where) > 1:
            yield "%s() is in %s: one is enough" % (name, " and ".join(where))


def check_headers(top):
    """Installed headers must not speak of what is not installed."""
    headers = public_headers(top)
    for header in headers:
        text = read(top, "include/" + header)
        for other in sorted(set(re.findall(r"\bvpci/[\w-]+\.h\b", text))):
            if other not in headers:
                yield ("%s, which is installed, speaks of %s, which is not"
                       % (header, other))
        for s in top_statements(without_comments(text)):
            if s.startswith("extern "):
                yield ("%s: %s: a program would depend on where and how "
                       "large that is; make a function" % (header, s))


def check_exports(top, name):
    with open(name, encoding="utf-8") as f:
        seen = {line.split()[-1] for line in f}
    symbols = exported(top)
    wanted = {"%s@@%s" % pair for pair in symbols}
    wanted |= {version for _, version in symbols}
    for symbol in sorted(wanted - seen):
        yield "the library does not export %s" % symbol
    for symbol in sorted(seen - wanted):
        yield "the library exports %s, which is not in %s" % (symbol, MAP)


def members(body):
    """Yields the names of the members in the body of a structure."""
    depth = begin = 0
    for i, c in enumerate(body):
        depth += (c == "{") - (c == "}")
        if c == ";" and not depth:
            member = body[begin:i].strip()
            begin = i + 1
            inner = re.match(r"(?:struct|union) \{(.*)\}$", member)
            if inner:
                yield from members(inner.group(1))
                continue
            yield (re.search(r"\(\*(\w+)\)", member)
                   or re.search(r"(\w+)(?: ?\[[^]]*\])*$", member)).group(1)


def print_structure(tag, body):
    print('    printf("%s %%zu\\n", sizeof(%s));' % (tag, tag))
    for name in members(body):
        print('    printf("%s.%s %%zu %%zu\\n",' % (tag, name))
        print("           offsetof(%s, %s)," % (tag, name))
        print("           sizeof ((%s *) 0)->%s);" % (tag, name))


def print_constant(name):
    print('    printf("%s %%lld\\n", (long long) %s);' % (name, name))


def print_abi(top):
    headers = public_headers(top)
    print("#include <stdio.h>")
    for header in headers:
        print('#include "%s"' % header)
    print("int main(void)\n{")
    for header in headers:
        text = without_comments(read(top, "include/" + header))
        statements = list(top_statements(text))
        for prototype in functions(statements).values():
            print('    puts("%s");' % prototype)
        for name in re.findall(r"^#define (VPCI_(?!\w+_H )\w+) ", text, re.M):
            print_constant(name)
        for s in statements:
            kind = re.match(r"((struct|union|enum) \w+) \{(.*)\}", s)
            if kind and kind.group(2) == "enum":
                for name in re.findall(r"(?:^|,) *(\w+)", kind.group(3)):
                    print_constant(name)
            elif kind:
                print_structure(kind.group(1), kind.group(3))
    print("    return 0;\n}")


def print_example(page):
    with open(page, encoding="utf-8") as f:
        sys.stdout.write(section(f.read(), "EXAMPLE"))


def main():
    top, command = sys.argv[1:3]
    wrong = []
    if command == "headers":
        declared = declarations(top)
        wrong = (list(check_headers(top)) + list(check_map(top, declared))
                 + list(check_pages(top, declared)))
    elif command == "exports":
        wrong = list(check_exports(top, sys.argv[3]))
    elif command == "abi":
        print_abi(top)
    elif command == "example":
        print_example(sys.argv[3])
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main())
