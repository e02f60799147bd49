# SPDX-License-Identifier: MIT
"""Print through STM pointers, in the view of the selected thread.

    (gdb) source uffdstm-gdb.py

    stm print[/FMT] EXPR    the value of EXPR, or what it points to if it is an STM pointer
    stm x[/FMT] EXPR        gdb's x command at an STM pointer; addresses shown are the heap's
    stm segment             what the selected thread runs in
    stm segments            the same for all threads
    set stm-layout LAYOUT   auto, normal, or small (built with -DSTM_SMALL_LAYOUT)
    $stm(EXPR)              in any expression of gdb: the ordinary pointer, of the same type,
                            into the selected thread's view: print *$stm(n)

An STM pointer holds an offset from the %gs base of the thread that uses it, and the same value
leads to each thread's own view. gdb does not know that. gcc marks such pointers in its debugging
information (DW_AT_address_class 2), clang does not, and gdb 13 drops the mark on x86: `print
n->next` reads address n itself, which is never mapped. So pointers are recognised by their
value: no ordinary pointer of a Linux process lies in the range of heap offsets. In the argument
of `stm print` and `stm x` every step through such a pointer (->, *, []) goes through the view;
all else is left to gdb.

A page that a thread has not used yet is not mapped in its view, and gdb cannot fault it in. With
the library's debugging information it is then read as the thread would see it: from the base,
and the commits between the base and the thread's snapshot. So it is in a core dump, which holds
no views: there a transaction's own writes are missing. $stm() cannot do this: it gives a plain
address.

Nothing here changes memory. A view is not to be written by a debugger either: a store without a
write barrier is not part of any transaction.

Page faults of a view arrive as SIGBUS and are a normal event, so sourcing this file does
    handle SIGBUS nostop noprint pass
A fault that is an error still stops gdb, by the SIGABRT or SIGSEGV that follows it.
"""

import re

import gdb

# lib/include/uffdstm/layout.h: the hot page; start and largest size of the heap.
HOT = 1 << 20
STATE = 24                      # of struct stm_seg, which stands there: 0, 1 or the transaction's site
LAYOUTS = {"normal": (96 << 30, 128 << 30), "small": (256 << 20, 256 << 20)}

# lib/internal.h and lib/entry.h: how a slot of the commit log tells what was written.
GRANULE = 16
REGION_GRANULES = 1 << 17
SLOT_FLAGS = 63
PACKED_RUNS = 8
ENTRY_IN_LOG = 2                # smaller words are EMPTY and PENDING

PAGE = 4096
UNPRINTABLE = (gdb.TYPE_CODE_VOID, gdb.TYPE_CODE_FUNC)


class LayoutParameter(gdb.Parameter):
    """Which of the two address layouts the program was built with.

auto takes it from the library's debugging information, and is normal where there is none."""

    set_doc = "Set the address layout of STM programs."
    show_doc = "Show the address layout of STM programs."

    def __init__(self):
        super().__init__("stm-layout", gdb.COMMAND_DATA, gdb.PARAM_ENUM,
                         ["auto", "normal", "small"])
        self.value = "auto"

    def get_set_string(self):
        return ""

    def get_show_string(self, value):
        return "The address layout of STM programs is %s." % value


layout_parameter = LayoutParameter()


def evaluate(text):
    return gdb.parse_and_eval(text)


def field(value, *names):
    """A number deep in a structure, or in what pointers lead to."""
    for name in names:
        value = value[name]
    return int(value)


def read_inferior(address, length):
    return bytes(gdb.selected_inferior().read_memory(address, length))


def read_word(address):
    return int.from_bytes(read_inferior(address, 8), "little")


# ---- the segment of the selected thread ----


class Segment:
    """What the selected thread runs in; raises gdb.GdbError if it is not attached."""

    def __init__(self):
        thread = gdb.selected_thread()
        if thread is None:
            raise gdb.GdbError("No thread is selected: run the program first.")
        self.thread = thread.num
        try:
            self.start = int(evaluate("(unsigned long) $gs_base"))
        except gdb.error as error:
            raise gdb.GdbError("$gs_base: %s: this gdb, or its target, does not tell the %%gs base."
                               % error)
        if not self.start:
            raise gdb.GdbError("Thread %d is not attached: its %%gs base is 0." % self.thread)
        self.own = self._own()
        try:
            self.version = read_word(self.start + HOT)
            self.running = read_word(self.start + HOT + STATE)
            segment = read_word(self.start + HOT + 8)
        except gdb.MemoryError:
            segment = 0
            self.version = self.running = 0
        if segment != self.start:
            raise gdb.GdbError("Thread %d is not attached: its %%gs base, %#x, is not a segment's "
                               "start." % (self.thread, self.start))
        if self.own is not None and (not self.own or field(self.own, "start") != self.start):
            raise gdb.GdbError("Thread %d is not attached: it inherited the %%gs base of the "
                               "thread that made it." % self.thread)
        self.heap, self.limit = self._layout()

    @staticmethod
    def _own():
        """The library's own struct stm_seg *, or None without debugging information."""
        try:
            own = evaluate("stm__self")
            own.fetch_lazy()
            own.type.target().fields()
            return own
        except (gdb.error, RuntimeError, TypeError):
            return None

    def _layout(self):
        name = layout_parameter.value
        if name == "auto":
            name = "normal"
            if self.own is not None:
                heap = field(self.own, "view", "heap") - self.start
                name = next((n for n in LAYOUTS if LAYOUTS[n][0] == heap), name)
        return LAYOUTS[name]

    def names(self, address):
        """Is this number an STM pointer into the heap?"""
        return self.heap <= address < self.heap + self.limit

    def read(self, address, length):
        """Bytes of the heap as this thread sees them."""
        try:
            return read_inferior(self.start + address, length)
        except gdb.MemoryError:
            pass
        data = b""
        while length:
            part = min(length, PAGE - address % PAGE)
            try:
                data += read_inferior(self.start + address, part)
            except gdb.MemoryError:
                data += bytes(self.read_base(address, part)[0])
            address += part
            length -= part
        return data

    def read_base(self, address, length):
        """Bytes that the view has no page for, and whether they are also what the base holds."""
        if self.own is None:
            raise gdb.GdbError("Heap address %#x is on a page that thread %d has not used: its "
                               "view has no such page, and without the library's debugging "
                               "information the base cannot be found." % (address, self.thread))
        whole = evaluate("stm_global")
        offset = address - self.heap
        if offset + length > field(whole, "heap_size"):
            raise gdb.GdbError("Heap address %#x is past the end of the heap of %d bytes."
                               % (address, field(whole, "heap_size")))
        data = bytearray(read_inferior(field(whole, "base") + offset, length))
        pristine = bytes(data)
        for start, piece in unfolded(field(whole, "folded"), field(self.own, "snapshot")):
            first = max(start, offset)
            last = min(start + len(piece), offset + length)
            if first < last:
                data[first - offset:last - offset] = piece[first - start:last - start]
        return data, data == pristine

    def base_delta(self, address):
        """What leads from an STM pointer to the base, if its page there is what the thread sees."""
        first = address // PAGE * PAGE
        if not self.read_base(first, PAGE)[1]:
            raise gdb.GdbError("The page of heap address %#x is not mapped in the view of thread "
                               "%d, and newer than the base: use `stm print`."
                               % (address, self.thread))
        return field(evaluate("stm_global"), "base") - self.heap


def unfolded(position, end):
    """(offset in the heap, bytes) of all that the commits [position, end) wrote, in order."""
    directory = log_directory()
    chunks = directory.type.range()[1] + 1
    header = gdb.lookup_type("struct stm_entry").sizeof
    run_type = gdb.lookup_type("struct stm_run")
    for position in range(position, end):
        chunk = directory[0].type.strip_typedefs().target()
        slots_n = chunk["slots"].type.range()[1] + 1
        slots = directory[position // slots_n % chunks]["slots"]
        slot = slots[position % slots_n]
        word = field(slot, "entry")
        if word < ENTRY_IN_LOG:
            return
        packed = field(slot, "packed")
        if packed:
            data = bytes(int(slot["bytes"][i]) for i in range(slot["bytes"].type.range()[1] + 1))
            for i in range(packed >> PACKED_RUNS & 0xff):
                run = field(slot, "runs", i)
                region = field(slot, "summary") >> (run >> 30) * 16 & 0xffff
                granule = region * REGION_GRANULES + (run >> 2 & (REGION_GRANULES - 1))
                length = (run & 3) * GRANULE
                yield granule * GRANULE, data[:length]
                data = data[length:]
        else:
            at = word & ~SLOT_FLAGS
            entry = gdb.Value(at).cast(gdb.lookup_type("struct stm_entry").pointer())
            at += header
            for _ in range(field(entry, "runs")):
                run = gdb.Value(read_inferior(at, run_type.sizeof), run_type)
                length = field(run, "count") * GRANULE
                at += run_type.sizeof
                yield field(run, "granule") * GRANULE, read_inferior(at, length)
                at += length


def log_directory():
    """The static variable of the file that defines stm_slot_at()."""
    function = gdb.lookup_global_symbol("stm_slot_at")
    for symbol in function.symtab.static_block() if function else ():
        if symbol.name == "directory":
            return symbol.value()
    raise gdb.GdbError("The commit log cannot be found: the library's debugging information has no "
                       "stm_slot_at().")


# ---- expressions ----

TOKEN = re.compile(r"""\s*(
    (?:'[^']*'::)?[$A-Za-z_][$\w]*(?:::[A-Za-z_]\w*)*   # a name, perhaps of a file or a function
  | \.?\d(?:[eEpP][-+]|[\w.])*
  | '(?:\\.|[^'\\])+' | "(?:\\.|[^"\\])*"
  | -> | (?:<<|>>|[-+*/%&|^])= | << | >> | [<>=!]= | && | \|\| | \+\+ | --
  | [-+*/%&|^!~<>=?:,.()\[\]@{}]
)""", re.VERBOSE)

ASSIGNMENTS = frozenset("= += -= *= /= %= &= |= ^= <<= >>= ++ --".split())


class Place:
    """An object in the heap: what an STM pointer names."""

    def __init__(self, segment, address, ctype):
        self.segment, self.address, self.type = segment, address, ctype

    def value(self):
        size = self.type.sizeof
        if not size or self.type.strip_typedefs().code == gdb.TYPE_CODE_VOID:
            raise gdb.GdbError("Type %s has no known size: cast the pointer." % self.type)
        return gdb.Value(self.segment.read(self.address, size), self.type)

    def pointer(self):
        return gdb.Value(self.address).cast(self.type.pointer())

    def element(self, index):
        target = self.type.strip_typedefs().target()
        return Place(self.segment, self.address + index * target.sizeof, target)


def is_structure(ctype):
    return ctype.strip_typedefs().code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION)


def find_member(ctype, name):
    """(bit offset, field) of a member, looked for in unnamed members too."""
    for member in ctype.strip_typedefs().fields():
        if member.name == name:
            return member.bitpos, member
        if not member.name and is_structure(member.type):
            found = find_member(member.type, name)
            if found:
                return member.bitpos + found[0], found[1]
    return None


class Expression:
    """Evaluates an expression of C, and reads the heap through the selected thread's view.

    A part of the expression is a Place, or text that is left to gdb. A place within such text is
    replaced by a convenience variable that holds its value."""

    def __init__(self, text):
        self.segment = Segment()
        self.tokens, self.next, self.variables = [], 0, 0
        at = 0
        while text[at:].strip():
            match = TOKEN.match(text, at)
            if not match:
                raise gdb.GdbError("A syntax error in expression, near `%s'." % text[at:])
            if match.group(1) not in ("STM", "__seg_gs"):       # gdb's types do not have it
                self.tokens.append(match.group(1))
            at = match.end()
        if not self.tokens:
            raise gdb.GdbError("An expression is needed.")

    def result(self):
        """A Place, or a gdb.Value."""
        try:
            part = self.expression()
            if self.peek():
                raise gdb.GdbError("A syntax error in expression, near `%s'." % self.peek())
            return part if isinstance(part, Place) else evaluate(part)
        finally:
            for i in range(self.variables):
                gdb.set_convenience_variable("_stm%d" % i, None)

    def peek(self, ahead=0):
        return self.tokens[self.next + ahead] if self.next + ahead < len(self.tokens) else ""

    def take(self, wanted=None):
        token = self.peek()
        if not token or wanted not in (None, token):
            raise gdb.GdbError("A syntax error in expression: `%s' is missing."
                               % (wanted or "an operand"))
        self.next += 1
        return token

    def text(self, part):
        return self.stash(part.value()) if isinstance(part, Place) else part

    def stash(self, value):
        name = "_stm%d" % self.variables
        self.variables += 1
        gdb.set_convenience_variable(name, value)
        return "$" + name

    def evaluate(self, part):
        return part.value() if isinstance(part, Place) else evaluate(part)

    def expression(self):
        parts = []
        while True:
            parts.append(self.unary())
            if self.peek() == "@" and isinstance(parts[-1], Place):
                self.take()
                count = int(self.evaluate(self.unary()))
                place = parts[-1]
                parts[-1] = Place(self.segment, place.address, place.type.array(count - 1))
            if self.peek() in ("", ")", "]", ","):
                break
            if self.peek() in ASSIGNMENTS:
                raise gdb.GdbError("The heap cannot be changed from gdb: only a transaction can.")
            parts.append(self.take())
        return parts[0] if len(parts) == 1 else " ".join(self.text(part) for part in parts)

    def unary(self):
        token = self.peek()
        if token in ASSIGNMENTS:
            raise gdb.GdbError("The heap cannot be changed from gdb: only a transaction can.")
        if token == "*":
            self.take()
            return self.dereference(self.unary())
        if token == "&":
            self.take()
            part = self.unary()
            return self.stash(part.pointer()) if isinstance(part, Place) else "&" + part
        if token in ("-", "+", "!", "~", "sizeof"):
            if token == "sizeof" and self.is_type(1):
                return self.take() + self.group()
            return self.take() + " " + self.text(self.unary())
        if token == "(" and self.is_type(0):
            return self.group() + self.text(self.unary())
        return self.postfix()

    def group_end(self, ahead):
        depth = 0
        for i in range(self.next + ahead, len(self.tokens)):
            depth += {"(": 1, ")": -1}.get(self.tokens[i], 0)
            if not depth:
                return i + 1
        raise gdb.GdbError("A syntax error in expression: `)' is missing.")

    def is_type(self, ahead):
        """Is what stands in parentheses a type? Then gdb can cast 0 to a pointer to it."""
        if self.peek(ahead) != "(":
            return False
        inner = " ".join(self.tokens[self.next + ahead + 1:self.group_end(ahead) - 1])
        try:
            evaluate("(%s *) 0" % inner)
            return True
        except gdb.error:
            return False

    def group(self):
        end = self.group_end(0)
        text = " ".join(self.tokens[self.next:end])
        self.next = end
        return text

    def postfix(self):
        if self.peek() == "(":
            self.take()
            part = self.expression()
            self.take(")")
            if not isinstance(part, Place):
                part = "(%s)" % part
        else:
            part = self.take()
            if not re.match(r"['\"$\w.]", part):
                raise gdb.GdbError("A syntax error in expression, near `%s'." % part)
        while True:
            token = self.peek()
            if token == "->":
                self.take()
                part = self.member(self.dereference(part), self.take())
            elif token == ".":
                self.take()
                part = self.member(part, self.take())
            elif token == "[":
                self.take()
                index = self.expression()
                self.take("]")
                part = self.subscript(part, index)
            elif token == "(":
                part = self.call(part)
            else:
                return part

    def call(self, function):
        arguments = []
        self.take("(")
        while self.peek() != ")":
            arguments.append(self.text(self.expression()))
            if self.peek() != ")":
                self.take(",")
        self.take(")")
        return "%s (%s)" % (self.text(function), ", ".join(arguments))

    def dereference(self, part):
        if isinstance(part, Place) and part.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
            return part.element(0)
        value = self.evaluate(part)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and self.segment.names(int(value)):
            return Place(self.segment, int(value), value.type.strip_typedefs().target())
        return "(*%s)" % self.text(part)

    def member(self, part, name):
        if not isinstance(part, Place):
            return "%s.%s" % (part, name)
        if not is_structure(part.type):
            raise gdb.GdbError("%s is not a structure: it has no member %s." % (part.type, name))
        found = find_member(part.type, name)
        if not found:
            raise gdb.GdbError("There is no member named %s." % name)
        bits, member = found
        if member.bitsize:
            return self.stash(part.value()[member])
        return Place(self.segment, part.address + bits // 8, member.type)

    def subscript(self, part, index):
        number = int(self.evaluate(index))
        if isinstance(part, Place) and part.type.strip_typedefs().code == gdb.TYPE_CODE_ARRAY:
            return part.element(number)
        value = self.evaluate(part)
        if value.type.strip_typedefs().code == gdb.TYPE_CODE_PTR and self.segment.names(int(value)):
            return Place(self.segment, int(value), value.type.strip_typedefs()).element(number)
        return "%s[%d]" % (self.text(part), number)


# ---- printing ----


def is_char(ctype):
    ctype = ctype.strip_typedefs()
    return ctype.code == gdb.TYPE_CODE_INT and ctype.sizeof == 1 and "char" in str(ctype)


def string_at(segment, address):
    limit = gdb.parameter("print elements") or 4096
    data = b""
    while len(data) < limit and b"\0" not in data:
        data += segment.read(address + len(data), 16 - (address + len(data)) % 16)
    text, end, _ = data.partition(b"\0")
    cut = not end or len(text) > limit
    text = text[:limit]
    value = gdb.Value(text + b"\0", gdb.lookup_type("char").array(len(text)))
    shown = value.format_string(repeat_threshold=0, max_elements=limit)
    return shown + ("..." if cut else "")


class TextPrinter:
    """`char STM *`, so that its text is shown within structures, arguments and locals too."""

    def __init__(self, segment, value):
        self.segment, self.value = segment, value

    def to_string(self):
        try:
            return "%#x %s" % (int(self.value), string_at(self.segment, int(self.value)))
        except gdb.error as error:
            return "%#x <%s>" % (int(self.value), error)
        except gdb.GdbError as error:
            return "%#x <%s>" % (int(self.value), error)


def find_printer(value):
    plain = value.type.strip_typedefs()
    if plain.code != gdb.TYPE_CODE_PTR or not is_char(plain.target()):
        return None
    try:
        address = int(value)
        if not any(heap <= address < heap + limit for heap, limit in LAYOUTS.values()):
            return None
        segment = Segment()
        return TextPrinter(segment, value) if segment.names(address) else None
    except (gdb.error, gdb.GdbError):
        return None


find_printer.name = "uffdstm"


def stm_type(ctype):
    """The name of a pointer type as the program spells it: struct node STM *."""
    name = str(ctype)
    return re.sub(r"\s*\*$", " STM *", name) if name.endswith("*") else name


def split_format(argument):
    match = re.match(r"/(\S+)\s*", argument)
    return (match.group(1), argument[match.end():]) if match else ("", argument)


class StmSubcommand(gdb.Command):
    """Errors of gdb's own are told as such, without a word about Python."""

    def invoke(self, argument, from_tty):
        try:
            self.run(argument)
        except gdb.error as error:
            raise gdb.GdbError(str(error))


class StmCommand(gdb.Command):
    """Look at software transactional memory (libuffdstm), in the view of the selected thread."""

    def __init__(self):
        super().__init__("stm", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class PrintCommand(StmSubcommand):
    """stm print[/FMT] EXPR: print a value, or what an STM pointer leads to.

Steps of EXPR through STM pointers (->, *, []) go through the view of the selected thread. FMT is
one of print's format letters."""

    def __init__(self):
        super().__init__("stm print", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def run(self, argument):
        letter, text = split_format(argument)
        options = {"format": letter} if letter else {}
        expression = Expression(text)
        result = expression.result()
        value = result.value() if isinstance(result, Place) else result
        plain = value.type.strip_typedefs()
        if plain.code != gdb.TYPE_CODE_PTR or not expression.segment.names(int(value)):
            print("(%s) %s" % (value.type, value.format_string(**options)))
            return
        address = int(value)
        shown = "(%s) %#x" % (stm_type(value.type), address)
        target = plain.target()
        if is_char(target) and not letter:
            print("%s %s" % (shown, string_at(expression.segment, address)))
        elif target.sizeof and target.strip_typedefs().code not in UNPRINTABLE:
            pointed = Place(expression.segment, address, target).value()
            print("%s = %s" % (shown, pointed.format_string(**options)))
        else:
            print(shown)


class ExamineCommand(StmSubcommand):
    """stm x[/FMT] EXPR: examine memory at an STM pointer, as the command x does.

The addresses shown are STM pointers."""

    def __init__(self):
        super().__init__("stm x", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def run(self, argument):
        letters, text = split_format(argument)
        expression = Expression(text)
        segment = expression.segment
        result = expression.result()
        if isinstance(result, Place) and result.type.strip_typedefs().code != gdb.TYPE_CODE_PTR:
            address = result.address
        else:
            address = int(result.value() if isinstance(result, Place) else result)
        if not segment.names(address):
            raise gdb.GdbError("%#x is not an STM pointer into the heap." % address)
        try:
            read_inferior(segment.start + address, 1)
            delta = segment.start
        except gdb.MemoryError:
            delta = segment.base_delta(address)
        command = "x%s %#x" % ("/" + letters if letters else "", address + delta)
        for line in gdb.execute(command, False, True).splitlines():
            print(re.sub(r"0x[0-9a-f]+", lambda found: "%#x" % (int(found.group(), 16) - delta),
                         line, count=1))


# enum stm_inevitable of lib/internal.h
INEVITABLE = {"STM_RIGHT_OF_WAY": "with right of way", "STM_INEVITABLE": "inevitable"}


def describe(segment):
    state = "not in a transaction"
    if segment.running:
        state = "in a transaction, version %d" % (segment.version & 0xffffffff)
    parts = ["thread %d: %%gs base %#x, %s" % (segment.thread, segment.start, state)]
    own = segment.own
    if own is None:
        return parts[0]
    if segment.running:
        if segment.running > 1:
            site = gdb.Value(segment.running).cast(gdb.lookup_type("struct stm_site").pointer())
            parts.append("begun at %s:%d (%s)" % (site["file"].string(), field(site, "line"),
                                                  site["function"].string()))
        parts.append("attempt %d" % (field(own, "attempt") + 1))
        mode = str(own["inevitable"])
        parts += [INEVITABLE[mode]] if mode in INEVITABLE else []
    parts.append("segment %d, snapshot %d, folded %d"
                 % (field(own, "id"), field(own, "snapshot"),
                    field(evaluate("stm_global"), "folded")))
    return ", ".join(parts)


class SegmentCommand(StmSubcommand):
    """stm segment: show the %gs base, the version and the transaction of the selected thread."""

    def __init__(self):
        super().__init__("stm segment", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        print(describe(Segment()))


class SegmentsCommand(StmSubcommand):
    """stm segments: stm segment for all threads."""

    def __init__(self):
        super().__init__("stm segments", gdb.COMMAND_STATUS, gdb.COMPLETE_NONE)

    def run(self, argument):
        selected = gdb.selected_thread()
        if selected is None:
            raise gdb.GdbError("No thread is selected: run the program first.")
        frame = gdb.selected_frame()
        bases = {}
        try:
            for thread in sorted(gdb.selected_inferior().threads(), key=lambda t: t.num):
                thread.switch()
                try:
                    segment = Segment()
                except gdb.GdbError as error:
                    print(error)
                    continue
                line = describe(segment)
                if segment.start in bases:
                    line += (" (the same as thread %d: one of them is not attached, and inherited "
                             "it)" % bases[segment.start])
                bases.setdefault(segment.start, thread.num)
                print(line)
        finally:
            selected.switch()
            frame.select()


class StmFunction(gdb.Function):
    """$stm (POINTER): the ordinary pointer, into the selected thread's view, for an STM pointer.

Null and ordinary pointers are returned as they are."""

    def __init__(self):
        super().__init__("stm")

    def invoke(self, pointer):
        if pointer.type.strip_typedefs().code not in (gdb.TYPE_CODE_PTR, gdb.TYPE_CODE_INT):
            raise gdb.GdbError("$stm() needs a pointer, not a %s." % pointer.type)
        segment = Segment()
        if not segment.names(int(pointer)):
            return pointer
        return gdb.Value(int(pointer) + segment.start).cast(pointer.type)


for define in (StmCommand, PrintCommand, ExamineCommand, SegmentCommand, SegmentsCommand,
               StmFunction):
    define()
# Sourced again, this one replaces the older one.
gdb.pretty_printers[:] = [printer for printer in gdb.pretty_printers
                          if getattr(printer, "name", "") != find_printer.name]
gdb.pretty_printers.append(find_printer)
gdb.execute("handle SIGBUS nostop noprint pass", False, True)
