r"""Texts that would leave a trace if anything evaluated, formatted, unpickled, rendered or typeset them.

`FILE` stands for a path that must not come to be.
"""

from __future__ import annotations

PYTHON = (
    "__import__('os').system('touch FILE')",
    "__import__('pathlib').Path('FILE').touch()",
    "open('FILE', 'w')",
    "open('FILE','w').write(chr(49)+chr(55))",
    "exec(\"open('FILE','w')\")",
    "eval(\"open('FILE','w')\")",
    "exec(compile(\"open('FILE','w')\",'a','exec'))",
    "lambda: open('FILE','w')",
    "(lambda f: f('FILE','w'))(open)",
    "[open('FILE','w') for x in (1,)]",
    "{open('FILE','w') for _ in range(1)}",
    "17 if open('FILE','w') else 17",
    "(a := open('FILE','w'))",
    "globals()['__builtins__'].open('FILE','w')",
    "getattr(__builtins__, 'op' + 'en')('FILE', 'w')",
    "breakpoint()",
    "input('FILE')",
    "exit(0)",
    "import os; os.system('touch FILE')",
    "import socket; socket.create_connection(('127.0.0.1', 9))",
    "from ctypes import CDLL; CDLL(None).system(b'touch FILE')",
    "__import__('os').environ.update(FILE='1')",
    "importlib.import_module('antigravity')",
    "print(open('/etc/passwd').read())",
)
ATTRIBUTE_WALKS = (
    "().__class__.__bases__[0].__subclasses__()",
    "(1).__class__.__mro__[1].__subclasses__()[104].load_module('os').system('touch FILE')",
    "''.__class__.__base__.__subclasses__()[-1].__init__.__globals__['os'].system('touch FILE')",
    "Symbol('x').__class__.__init__.__globals__['os'].system('touch FILE')",
    "x.__reduce__()[0](open, ('FILE', 'w'))",
    "type('X', (), {'__del__': lambda s: open('FILE', 'w')})()",
    "\\operatorname{x.__class__}(open('FILE','w'))",
)
STRINGS_OF_SYMPY = (
    "Symbol('x')**open('FILE','w').fileno()",
    "Integral(exec(\"open('FILE','w')\"), x)",
    "S(\"open('FILE','w')\")",
    "sympify(\"__import__('os').system('touch FILE')\")",
    "Lambda(x, open('FILE','w'))(1)",
    'parse_expr(\'open("FILE","w")\', evaluate=True)',
    "x.subs(x, open('FILE','w'))",
    "Function('f')(open('FILE','w'))",
    "factorial(open('FILE','w'))",
)
FORMATS = (
    "{0.__class__.__init__.__globals__[os]}",
    "{answer.__class__}",
    "%(FILE)s %s %n %x",
    'f\'{open("FILE","w")}\'',
    "${open('FILE','w')}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% import os %}{{ os.system('touch FILE') }}",
    "{{ cycler.__init__.__globals__.os.popen('touch FILE').read() }}",
    "<%= open('FILE','w') %>",
    "#{open('FILE','w')}",
    "${jndi:ldap://127.0.0.1:9/a}",
)
SERIALISED = (
    "!!python/object/apply:os.system ['touch FILE']",
    "!!python/object/new:open ['FILE', 'w']",
    "cos\nsystem\n(S'touch FILE'\ntR.",
    "gASVHAAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==",
    "base64.b64decode('b3BlbignRklMRScsJ3cnKQ==')",
    '{"py/object": "os.system", "args": ["touch FILE"]}',
    '<!DOCTYPE a [<!ENTITY x SYSTEM "file://FILE">]><a>&x;</a>',
)
SHELLS = (
    "$(touch FILE)",
    "`touch FILE`",
    "; touch FILE",
    "| touch FILE",
    "&& touch FILE",
    "> FILE",
    "$((17)); echo 17 > FILE",
    "\n touch FILE \n",
    "<script>require('fs').writeFileSync('FILE','')</script>",
    "1); DROP TABLE answers; --",
    "' OR '1'='1",
    "1; ATTACH DATABASE 'FILE' AS a",
)
LATEX = (
    "\\input{FILE}",
    "\\include{FILE}",
    "\\write18{touch FILE}",
    "\\immediate\\write18{touch FILE}",
    "\\newwrite\\w\\openout\\w=FILE\\write\\w{x}\\closeout\\w",
    "\\csname write18\\endcsname{touch FILE}",
    "\\def\\x{\\x\\x}\\x",
    "\\loop\\iftrue\\repeat",
    "\\catcode`\\@=11 \\@@input FILE",
    "\\directlua{os.execute('touch FILE')}",
    "\\text{\\input{FILE}}",
    "\\href{file://FILE}{17}",
    "\\usepackage{FILE}",
    "\\lstinputlisting{FILE}",
)
LOOKALIKES = (
    "\uff45\uff56\uff41\uff4c(\"open('FILE','w')\")",  # fullwidth letters that compatibility forms make "eval"
    "\uff3f\uff3fimport\uff3f\uff3f('os').system('touch FILE')",
    "\U0001d41e\U0001d42f\U0001d41a\U0001d425(\"open('FILE','w')\")",  # mathematical bold
    "\u03bfpen('FILE','w')",  # a Greek omicron
    "\u0435x\u0435c(\"open('FILE','w')\")",  # Cyrillic letters
    "op\u200ben('FILE','w')",  # a space of no width
    "\u202e)'w','FILE'(nepo",  # written from the right
    "op\u00aden('FILE', 'w')",  # a soft hyphen
    "o\u0301pen('FILE','w')",
)
PAYLOADS = (
    *PYTHON,
    *ATTRIBUTE_WALKS,
    *STRINGS_OF_SYMPY,
    *FORMATS,
    *SERIALISED,
    *SHELLS,
    *LATEX,
    *LOOKALIKES,
)
