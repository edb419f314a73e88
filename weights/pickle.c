/* SPDX-License-Identifier: MIT */
/* Python's pickle, protocols 2 to 5 (docs.python.org/3/library/pickletools.html), as far as torch.save uses it: a stack machine
 * that builds containers. Ours knows the opcodes and globals of the two tables below and builds plain values; a "call" is a row of
 * the second table, never code from the file. Values refer to containers by index and nothing here recurses. */
#include "weights/formats.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_VALUES = 1 << 22, /* in any one of the machine's arrays */
    MAX_MARKS = 64,       /* containers under construction inside each other */
    MAX_BYTES = 16 << 20  /* of the pickle; those of our networks have less than 200 kB */
};

typedef enum kind { UNSET, MARK, NONE, BOOLEAN, INTEGER, TEXT, GLOBAL, TUPLE, LIST, DICT, STORAGE, TENSOR, OTHER } kind;

static const char *const kind_names[] = {"nothing", "a mark", "None",   "a bool",    "an integer", "a text",   "a global",
                                         "a tuple", "a list", "a dict", "a storage", "a tensor",   "an object"};

typedef struct value {
    kind kind;
    uint32_t size;  /* TEXT: bytes */
    int64_t number; /* INTEGER, BOOLEAN: itself; TEXT: offset in the pickle; otherwise an index into the table of its kind */
} value;

typedef struct container {         /* a TUPLE, a LIST, or a DICT as key, value, key, value ... */
    size_t first, count, capacity; /* in machine.item */
} container;

typedef struct machine {
    const uint8_t *bytes;
    size_t size, at;
    value *stack, *memo, *item;
    container *container;
    size_t depth, stack_capacity, memo_capacity, items, item_capacity, containers, container_capacity;
    size_t storage_capacity, tensor_capacity, entry_capacity;
    size_t memoized;   /* how many MEMOIZE there were */
    uint64_t argument; /* of the current opcode */
    int marks, stopped;
    en_error *e;
    en_status status; /* why with_room failed */
    wt_pickle out;
} machine;

typedef enum role { MAKE_DICT, MAKE_TENSOR, MAKE_PARAMETER, STORAGE_TYPE, HARMLESS } role;

/* The allow-list of globals. HARMLESS ones stand beside the weights in training checkpoints: they become opaque leaves. */
static const struct {
    const char *module, *name;
    role role;
    wt_dtype dtype;
} globals[] = {
    {"collections", "OrderedDict", MAKE_DICT, 0},
    {"torch._utils", "_rebuild_tensor_v2", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_tensor", MAKE_TENSOR, 0},
    {"torch._utils", "_rebuild_parameter", MAKE_PARAMETER, 0},
    {"torch", "FloatStorage", STORAGE_TYPE, WT_F32},
    {"torch", "DoubleStorage", STORAGE_TYPE, WT_F64},
    {"torch", "HalfStorage", STORAGE_TYPE, WT_F16},
    {"torch", "BFloat16Storage", STORAGE_TYPE, WT_BF16},
    {"torch", "LongStorage", STORAGE_TYPE, WT_I64},
    {"torch", "IntStorage", STORAGE_TYPE, WT_I32},
    {"torch", "ShortStorage", STORAGE_TYPE, WT_I16},
    {"torch", "CharStorage", STORAGE_TYPE, WT_I8},
    {"torch", "ByteStorage", STORAGE_TYPE, WT_U8},
    {"torch", "BoolStorage", STORAGE_TYPE, WT_BOOL},
    {"torch", "Size", HARMLESS, 0},
    {"torch", "device", HARMLESS, 0},
    {"argparse", "Namespace", HARMLESS, 0},
    {"yacs.config", "CfgNode", HARMLESS, 0},
    {"numpy", "dtype", HARMLESS, 0},
    {"numpy.core.multiarray", "scalar", HARMLESS, 0},
    {"numpy._core.multiarray", "scalar", HARMLESS, 0},
    {"_codecs", "encode", HARMLESS, 0},
};

/* The array with room for one more element: where it is full, a larger copy. NULL, with the array intact, when that fails; the
 * reason is then in m->status. */
static void *with_room(machine *m, void *array, size_t count, size_t *capacity, size_t element)
{
    if (count < *capacity) return array;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *grown = wanted > MAX_VALUES ? NULL : realloc(array, wanted * element);
    if (grown)
        *capacity = wanted;
    else if (wanted > MAX_VALUES)
        m->status = en_fail(m->e, EN_E_LIMIT, "more than %d values", MAX_VALUES);
    else
        m->status = en_fail(m->e, EN_E_NOMEM, "no memory for %zu values", wanted);
    return grown;
}

static en_status push(machine *m, value v)
{
    value *stack = with_room(m, m->stack, m->depth, &m->stack_capacity, sizeof *stack);
    if (!stack) return m->status;
    m->stack = stack;
    m->stack[m->depth++] = v;
    return EN_OK;
}

static en_status pop(machine *m, value *v)
{
    if (m->depth == 0 || m->stack[m->depth - 1].kind == MARK) return en_fail(m->e, EN_E_FORMAT, "the stack has too few values");
    *v = m->stack[--m->depth];
    return EN_OK;
}

/* The value that stays on the stack while opcodes fill it. */
static en_status top(machine *m, value *v)
{
    EN_TRY(pop(m, v));
    m->depth++;
    return EN_OK;
}

/* The index behind the last mark. The mark goes; the values above it stay on the stack for the caller to take. */
static en_status pop_mark(machine *m, size_t *first)
{
    size_t i = m->depth;
    while (i > 0 && m->stack[i - 1].kind != MARK) i--;
    if (i == 0) return en_fail(m->e, EN_E_FORMAT, "no mark on the stack");
    m->marks--;
    *first = i;
    return EN_OK;
}

static en_status new_container(machine *m, kind k, value *out)
{
    container *grown = with_room(m, m->container, m->containers, &m->container_capacity, sizeof *grown);
    if (!grown) return m->status;
    m->container = grown;
    m->container[m->containers] = (container){.first = m->items};
    *out = (value){.kind = k, .number = (int64_t)m->containers++};
    return EN_OK;
}

/* Gives a full container more room: in place if it is the last in the pool, otherwise by moving it there. */
static en_status enlarge(machine *m, container *c)
{
    int last = c->first + c->capacity == m->items;
    size_t from = c->first, capacity = last ? c->capacity + 1 : 2 * c->capacity + 4, first = last ? from : m->items;
    while (m->items < first + capacity) {
        value *item = with_room(m, m->item, m->items, &m->item_capacity, sizeof *item);
        if (!item) return m->status;
        m->item = item;
        m->item[m->items++] = (value){0};
    }
    if (!last) memcpy(&m->item[first], &m->item[from], c->count * sizeof *m->item);
    c->first = first;
    c->capacity = capacity;
    return EN_OK;
}

static en_status append(machine *m, value to, value v)
{
    container *c = &m->container[to.number];
    if (c->count == c->capacity) EN_TRY(enlarge(m, c));
    m->item[c->first + c->count++] = v;
    return EN_OK;
}

static size_t count_of(const machine *m, value v) { return m->container[v.number].count; }
static value item_of(const machine *m, value v, size_t i) { return m->item[m->container[v.number].first + i]; }

static int text_is(const machine *m, value v, const char *text)
{
    return v.kind == TEXT && v.size == strlen(text) && memcmp(m->bytes + v.number, text, v.size) == 0;
}

/* ---- opcodes: constants ---- */

static en_status op_none(machine *m) { return push(m, (value){.kind = NONE}); }
static en_status op_true(machine *m) { return push(m, (value){.kind = BOOLEAN, .number = 1}); }
static en_status op_false(machine *m) { return push(m, (value){.kind = BOOLEAN}); }
static en_status op_unsigned(machine *m) { return push(m, (value){.kind = INTEGER, .number = (int64_t)m->argument}); }
static en_status op_int32(machine *m) { return push(m, (value){.kind = INTEGER, .number = (int32_t)(uint32_t)m->argument}); }
static en_status op_float(machine *m) { return push(m, (value){.kind = OTHER}); }

/* Takes `size` bytes that follow the opcode and its argument. */
static en_status take(machine *m, uint64_t size)
{
    if (size > m->size - m->at)
        return en_fail(m->e, EN_E_FORMAT, "%llu bytes announced, %zu are left", (unsigned long long)size, m->size - m->at);
    m->at += (size_t)size;
    return EN_OK;
}

/* A two's complement integer of `size` bytes; one that does not fit 64 bits is no size or offset of ours. */
static en_status op_long(machine *m)
{
    size_t size = (size_t)m->argument;
    const uint8_t *b = m->bytes + m->at;
    EN_TRY(take(m, size));
    if (size > 8) return push(m, (value){.kind = OTHER});
    uint64_t bits = size > 0 && b[size - 1] >> 7 ? UINT64_MAX : 0;
    for (size_t i = size; i-- > 0;) bits = bits << 8 | b[i];
    return push(m, (value){.kind = INTEGER, .number = (int64_t)bits});
}

static en_status op_text(machine *m)
{
    uint64_t size = m->argument;
    value v = {.kind = TEXT, .size = (uint32_t)size, .number = (int64_t)m->at};
    EN_TRY(take(m, size));
    return push(m, v);
}

static en_status op_bytes(machine *m)
{
    EN_TRY(take(m, m->argument));
    return push(m, (value){.kind = OTHER});
}

/* ---- opcodes: the stack and the memo ---- */

static en_status op_proto(machine *m)
{
    uint64_t version = m->argument;
    if (version < 2 || version > 5) return en_fail(m->e, EN_E_UNSUPPORTED, "pickle protocol %d, want 2 to 5", (int)version);
    return EN_OK;
}

static en_status op_frame(machine *m) /* a hint for readers of streams */
{
    size_t at = m->at;
    EN_TRY(take(m, m->argument));
    m->at = at;
    return EN_OK;
}

static en_status op_stop(machine *m)
{
    if (m->depth != 1) return en_fail(m->e, EN_E_FORMAT, "STOP with %zu values on the stack, want 1", m->depth);
    m->stopped = 1;
    return EN_OK;
}

static en_status op_mark(machine *m)
{
    if (m->marks == MAX_MARKS) return en_fail(m->e, EN_E_LIMIT, "containers nested deeper than %d", MAX_MARKS);
    m->marks++;
    return push(m, (value){.kind = MARK});
}

static en_status op_pop(machine *m)
{
    value v;
    return pop(m, &v);
}

static en_status op_pop_mark(machine *m)
{
    EN_TRY(pop_mark(m, &m->depth));
    m->depth--;
    return EN_OK;
}

static en_status op_put(machine *m)
{
    uint64_t index = m->argument;
    value v;
    EN_TRY(top(m, &v));
    if (index >= m->size || index >= MAX_VALUES) /* picklers count from 0, at least one byte for each */
        return en_fail(m->e, EN_E_LIMIT, "memo index %llu in a pickle of %zu bytes", (unsigned long long)index, m->size);
    while (index >= m->memo_capacity) {
        size_t old = m->memo_capacity;
        value *memo = with_room(m, m->memo, old, &m->memo_capacity, sizeof *memo);
        if (!memo) return m->status;
        m->memo = memo;
        memset(m->memo + old, 0, (m->memo_capacity - old) * sizeof *m->memo);
    }
    m->memo[index] = v;
    return EN_OK;
}

/* MEMOIZE numbers its values itself: the next one is the first that is unset. */
static en_status op_memoize(machine *m)
{
    m->argument = m->memoized++;
    return op_put(m);
}

static en_status op_get(machine *m)
{
    uint64_t index = m->argument;
    if (index >= m->memo_capacity || m->memo[index].kind == UNSET)
        return en_fail(m->e, EN_E_FORMAT, "memo index %llu was never set", (unsigned long long)index);
    return push(m, m->memo[index]);
}

/* ---- opcodes: containers ---- */

/* Replaces the values from stack index `first` on by a tuple of them. `drop`: slots below them to remove too (the mark). */
static en_status make_tuple(machine *m, size_t first, size_t drop)
{
    value tuple;
    EN_TRY(new_container(m, TUPLE, &tuple));
    for (size_t i = first; i < m->depth; i++) EN_TRY(append(m, tuple, m->stack[i]));
    m->depth = first - drop;
    return push(m, tuple);
}

static en_status op_tuple(machine *m)
{
    size_t first;
    EN_TRY(pop_mark(m, &first));
    return make_tuple(m, first, 1);
}

static en_status tuple_of(machine *m, size_t n)
{
    if (m->depth < n) return en_fail(m->e, EN_E_FORMAT, "the stack has too few values");
    for (size_t i = m->depth - n; i < m->depth; i++)
        if (m->stack[i].kind == MARK) return en_fail(m->e, EN_E_FORMAT, "the stack has too few values");
    return make_tuple(m, m->depth - n, 0);
}

static en_status op_tuple0(machine *m) { return tuple_of(m, 0); }
static en_status op_tuple1(machine *m) { return tuple_of(m, 1); }
static en_status op_tuple2(machine *m) { return tuple_of(m, 2); }
static en_status op_tuple3(machine *m) { return tuple_of(m, 3); }

static en_status op_empty_list(machine *m)
{
    value list;
    EN_TRY(new_container(m, LIST, &list));
    return push(m, list);
}

static en_status op_empty_dict(machine *m)
{
    value dict;
    EN_TRY(new_container(m, DICT, &dict));
    return push(m, dict);
}

/* Moves the stack's values from index `first` on into the container below them, at `first` - 1 - drop. */
static en_status extend(machine *m, kind want, size_t first, size_t drop)
{
    size_t end = m->depth;
    if (first < drop + 1) return en_fail(m->e, EN_E_FORMAT, "the stack has too few values");
    value to = m->stack[m->depth = first - drop - 1];
    if (to.kind != want && to.kind != OTHER)
        return en_fail(m->e, EN_E_FORMAT, "cannot add to %s, want %s", kind_names[to.kind], kind_names[want]);
    if (want == DICT && (end - first) % 2 != 0) return en_fail(m->e, EN_E_FORMAT, "a key without a value");
    for (size_t i = first; i < end && to.kind != OTHER; i++) EN_TRY(append(m, to, m->stack[i]));
    m->depth++;
    return EN_OK;
}

static en_status extend_by(machine *m, kind want, size_t n)
{
    value v;
    size_t depth = m->depth;
    for (size_t i = 0; i < n; i++) EN_TRY(pop(m, &v));
    m->depth = depth;
    return extend(m, want, depth - n, 0);
}

static en_status extend_from_mark(machine *m, kind want)
{
    size_t first;
    EN_TRY(pop_mark(m, &first));
    return extend(m, want, first, 1);
}

static en_status op_append(machine *m) { return extend_by(m, LIST, 1); }
static en_status op_appends(machine *m) { return extend_from_mark(m, LIST); }
static en_status op_setitem(machine *m) { return extend_by(m, DICT, 2); }
static en_status op_setitems(machine *m) { return extend_from_mark(m, DICT); }

/* ---- opcodes: globals, and what stands for calling them ---- */

static en_status find_global(machine *m, const void *module, size_t module_size, const void *name, size_t name_size)
{
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++)
        if (strlen(globals[i].module) == module_size && memcmp(globals[i].module, module, module_size) == 0 &&
            strlen(globals[i].name) == name_size && memcmp(globals[i].name, name, name_size) == 0)
            return push(m, (value){.kind = GLOBAL, .number = (int64_t)i});
    wt_shown shown_module, shown_name;
    return en_fail(m->e, EN_E_UNSUPPORTED, "refused global %s.%s: only tensors and containers are read; nothing is executed",
                   wt_show(module, module_size, shown_module), wt_show(name, name_size, shown_name));
}

static en_status op_global(machine *m)
{
    const uint8_t *module = m->bytes + m->at, *end = m->bytes + m->size;
    const uint8_t *name = memchr(module, '\n', (size_t)(end - module));
    const uint8_t *stop = name ? memchr(name + 1, '\n', (size_t)(end - name - 1)) : NULL;
    if (!stop) return en_fail(m->e, EN_E_FORMAT, "the name of a global does not end");
    m->at += (size_t)(stop - module) + 1;
    return find_global(m, module, (size_t)(name - module), name + 1, (size_t)(stop - name - 1));
}

static en_status op_stack_global(machine *m)
{
    value name = {0}, module = {0};
    EN_TRY(pop(m, &name));
    EN_TRY(pop(m, &module));
    if (name.kind != TEXT || module.kind != TEXT) return en_fail(m->e, EN_E_FORMAT, "the name of a global is no text");
    return find_global(m, m->bytes + module.number, module.size, m->bytes + name.number, name.size);
}

/* OrderedDict() or OrderedDict([[key, value], ...]) */
static en_status make_dict(machine *m, value args)
{
    value dict, pairs = {0};
    EN_TRY(new_container(m, DICT, &dict));
    if (count_of(m, args) > 0) pairs = item_of(m, args, 0);
    if (count_of(m, args) > 1 || (pairs.kind != UNSET && pairs.kind != LIST))
        return en_fail(m->e, EN_E_FORMAT, "OrderedDict of %s, want a list of pairs", kind_names[pairs.kind]);
    for (size_t i = 0; pairs.kind == LIST && i < count_of(m, pairs); i++) {
        value pair = item_of(m, pairs, i);
        if ((pair.kind != LIST && pair.kind != TUPLE) || count_of(m, pair) != 2)
            return en_fail(m->e, EN_E_FORMAT, "OrderedDict: item %zu is no pair", i);
        EN_TRY(append(m, dict, item_of(m, pair, 0)));
        EN_TRY(append(m, dict, item_of(m, pair, 1)));
    }
    return push(m, dict);
}

static en_status read_axes(const machine *m, value tuple, int64_t *out, int *rank)
{
    if (tuple.kind != TUPLE)
        return en_fail(m->e, EN_E_FORMAT, "a tensor's size or stride is %s, want a tuple", kind_names[tuple.kind]);
    if (count_of(m, tuple) > WT_MAX_RANK) return en_fail(m->e, EN_E_LIMIT, "a tensor of more than %d axes", WT_MAX_RANK);
    *rank = (int)count_of(m, tuple);
    for (int i = 0; i < *rank; i++) {
        value v = item_of(m, tuple, (size_t)i);
        if (v.kind != INTEGER) return en_fail(m->e, EN_E_FORMAT, "a tensor's size or stride holds %s", kind_names[v.kind]);
        out[i] = v.number;
    }
    return EN_OK;
}

/* (storage, offset, size, stride, ...): what follows concerns gradients. */
static en_status make_tensor(machine *m, value args)
{
    wt_pickle_tensor t = {0};
    int strides = 0;
    if (count_of(m, args) < 4) return en_fail(m->e, EN_E_FORMAT, "a tensor from %zu arguments, want at least 4", count_of(m, args));
    value storage = item_of(m, args, 0), offset = item_of(m, args, 1);
    if (storage.kind != STORAGE || offset.kind != INTEGER || offset.number < 0)
        return en_fail(m->e, EN_E_FORMAT, "a tensor at %s of %s, want an offset in a storage", kind_names[offset.kind],
                       kind_names[storage.kind]);
    t.storage = (size_t)storage.number;
    t.offset = offset.number;
    EN_TRY(read_axes(m, item_of(m, args, 2), t.dim, &t.rank));
    EN_TRY(read_axes(m, item_of(m, args, 3), t.stride, &strides));
    if (t.rank != strides) return en_fail(m->e, EN_E_FORMAT, "a tensor with %d sizes and %d strides", t.rank, strides);
    if (m->out.tensors == WT_MAX_TENSORS) return en_fail(m->e, EN_E_LIMIT, "more than %d tensors", WT_MAX_TENSORS);
    wt_pickle_tensor *grown = with_room(m, m->out.tensor, m->out.tensors, &m->tensor_capacity, sizeof *grown);
    if (!grown) return m->status;
    m->out.tensor = grown;
    m->out.tensor[m->out.tensors] = t;
    return push(m, (value){.kind = TENSOR, .number = (int64_t)m->out.tensors++});
}

static en_status op_reduce(machine *m)
{
    value args = {0}, callee = {0};
    EN_TRY(pop(m, &args));
    EN_TRY(pop(m, &callee));
    if (callee.kind != GLOBAL || args.kind != TUPLE)
        return en_fail(m->e, EN_E_FORMAT, "call of %s with %s", kind_names[callee.kind], kind_names[args.kind]);
    switch (globals[callee.number].role) {
    case MAKE_DICT:
        return make_dict(m, args);
    case MAKE_TENSOR:
        return make_tensor(m, args);
    case MAKE_PARAMETER: /* (tensor, requires_grad, hooks) */
        if (count_of(m, args) == 0 || item_of(m, args, 0).kind != TENSOR)
            return en_fail(m->e, EN_E_FORMAT, "a parameter without a tensor");
        return push(m, item_of(m, args, 0));
    case HARMLESS:
        return push(m, (value){.kind = OTHER});
    case STORAGE_TYPE:
        break;
    }
    return en_fail(m->e, EN_E_UNSUPPORTED, "refused call of %s.%s", globals[callee.number].module, globals[callee.number].name);
}

/* cls.__new__(*args), only for leaves that are not looked at. */
static en_status op_newobj(machine *m)
{
    value args = {0}, class = {0};
    EN_TRY(pop(m, &args));
    EN_TRY(pop(m, &class));
    if (class.kind != GLOBAL || globals[class.number].role != HARMLESS || args.kind != TUPLE)
        return en_fail(m->e, EN_E_UNSUPPORTED, "refused to build an object from %s", kind_names[class.kind]);
    return push(m, (value){.kind = OTHER});
}

/* Attributes, such as _metadata of a state dict: dropped. */
static en_status op_build(machine *m)
{
    value state = {0}, target = {0};
    EN_TRY(pop(m, &state));
    EN_TRY(top(m, &target));
    if (target.kind != DICT && target.kind != OTHER)
        return en_fail(m->e, EN_E_UNSUPPORTED, "refused to set attributes of %s", kind_names[target.kind]);
    return EN_OK;
}

/* ('storage', type, key, location, elements[, view]); a view is None or (key, first element, elements) */
static en_status op_persistent_id(machine *m)
{
    value id, part[6] = {0}, first = {0};
    EN_TRY(pop(m, &id));
    if (id.kind != TUPLE || count_of(m, id) < 5) return en_fail(m->e, EN_E_FORMAT, "a persistent id that names no storage");
    for (size_t i = 0; i < 6 && i < count_of(m, id); i++) part[i] = item_of(m, id, i);
    if (part[5].kind == TUPLE && count_of(m, part[5]) == 3) first = item_of(m, part[5], 1);
    if (part[5].kind == TUPLE && (first.kind != INTEGER || first.number < 0))
        return en_fail(m->e, EN_E_FORMAT, "a view of a storage without its first element");
    if (!text_is(m, part[0], "storage") || part[1].kind != GLOBAL || globals[part[1].number].role != STORAGE_TYPE ||
        part[2].kind != TEXT || part[4].kind != INTEGER || part[4].number < 0)
        return en_fail(m->e, EN_E_FORMAT, "a persistent id that names no storage");
    wt_pickle_storage *grown = with_room(m, m->out.storage, m->out.storages, &m->storage_capacity, sizeof *grown);
    if (!grown) return m->status;
    m->out.storage = grown;
    m->out.storage[m->out.storages] = (wt_pickle_storage){.key = {(const char *)m->bytes + part[2].number, part[2].size},
                                                          .dtype = globals[part[1].number].dtype,
                                                          .elements = part[4].number,
                                                          .first = first.number};
    return push(m, (value){.kind = STORAGE, .number = (int64_t)m->out.storages++});
}

/* The allow-list of opcodes. `bytes`: size of the unsigned argument that follows. A row without `run` only gives a name to what is
 * refused. */
static const struct opcode {
    const char *name;
    int bytes;
    en_status (*run)(machine *m);
} opcodes[256] = {
    [0x80] = {"PROTO", 1, op_proto},
    [0x95] = {"FRAME", 8, op_frame},
    ['.'] = {"STOP", 0, op_stop},
    ['('] = {"MARK", 0, op_mark},
    ['0'] = {"POP", 0, op_pop},
    ['1'] = {"POP_MARK", 0, op_pop_mark},
    ['N'] = {"NONE", 0, op_none},
    [0x88] = {"NEWTRUE", 0, op_true},
    [0x89] = {"NEWFALSE", 0, op_false},
    ['K'] = {"BININT1", 1, op_unsigned},
    ['M'] = {"BININT2", 2, op_unsigned},
    ['J'] = {"BININT", 4, op_int32},
    [0x8a] = {"LONG1", 1, op_long},
    [0x8b] = {"LONG4", 4, op_long},
    ['G'] = {"BINFLOAT", 8, op_float},
    ['U'] = {"SHORT_BINSTRING", 1, op_text},
    ['T'] = {"BINSTRING", 4, op_text},
    [0x8c] = {"SHORT_BINUNICODE", 1, op_text},
    ['X'] = {"BINUNICODE", 4, op_text},
    [0x8d] = {"BINUNICODE8", 8, op_text},
    ['C'] = {"SHORT_BINBYTES", 1, op_bytes},
    ['B'] = {"BINBYTES", 4, op_bytes},
    [0x8e] = {"BINBYTES8", 8, op_bytes},
    ['q'] = {"BINPUT", 1, op_put},
    ['r'] = {"LONG_BINPUT", 4, op_put},
    [0x94] = {"MEMOIZE", 0, op_memoize},
    ['h'] = {"BINGET", 1, op_get},
    ['j'] = {"LONG_BINGET", 4, op_get},
    ['t'] = {"TUPLE", 0, op_tuple},
    [')'] = {"EMPTY_TUPLE", 0, op_tuple0},
    [0x85] = {"TUPLE1", 0, op_tuple1},
    [0x86] = {"TUPLE2", 0, op_tuple2},
    [0x87] = {"TUPLE3", 0, op_tuple3},
    [']'] = {"EMPTY_LIST", 0, op_empty_list},
    ['}'] = {"EMPTY_DICT", 0, op_empty_dict},
    ['a'] = {"APPEND", 0, op_append},
    ['e'] = {"APPENDS", 0, op_appends},
    ['s'] = {"SETITEM", 0, op_setitem},
    ['u'] = {"SETITEMS", 0, op_setitems},
    ['c'] = {"GLOBAL", 0, op_global},
    [0x93] = {"STACK_GLOBAL", 0, op_stack_global},
    ['R'] = {"REDUCE", 0, op_reduce},
    [0x81] = {"NEWOBJ", 0, op_newobj},
    ['b'] = {"BUILD", 0, op_build},
    ['Q'] = {"BINPERSID", 0, op_persistent_id},
    ['i'] = {"INST", 0, NULL},
    ['o'] = {"OBJ", 0, NULL},
    [0x82] = {"EXT1", 0, NULL},
    [0x83] = {"EXT2", 0, NULL},
    [0x84] = {"EXT4", 0, NULL},
    [0x92] = {"NEWOBJ_EX", 0, NULL},
};

static en_status step(machine *m)
{
    size_t at = m->at;
    if (at == MAX_BYTES) return en_fail(m->e, EN_E_LIMIT, "a pickle of more than %d bytes", MAX_BYTES);
    if (at == m->size) return en_fail(m->e, EN_E_FORMAT, "offset %zu: the pickle ends without STOP", at);
    uint8_t code = m->bytes[m->at++];
    const struct opcode *op = &opcodes[code];
    if (!op->run)
        return en_fail(m->e, EN_E_UNSUPPORTED,
                       "offset %zu: refused opcode %s (0x%02x): only tensors and containers are read; nothing is executed", at,
                       op->name ? op->name : "without a known name", code);
    m->argument = 0;
    if (m->size - m->at < (size_t)op->bytes)
        return en_fail(m->e, EN_E_FORMAT, "offset %zu: the pickle ends inside %s", at, op->name);
    for (int i = 0; i < op->bytes; i++) m->argument |= (uint64_t)m->bytes[m->at++] << (8 * i);
    en_status status = op->run(m);
    return status == EN_OK ? EN_OK : en_wrap(m->e, status, "offset %zu", at);
}

/* Where training scripts keep the weights and, marked, their moving average. */
static const struct {
    const char *name;
    int ema;
} drawers[] = {{"model", 0}, {"state_dict", 0}, {"model_ema", 1}, {"state_dict_ema", 1}, {"ema", 1}};

/* The first drawer of this kind in a dict. */
static int find_drawer(const machine *m, value dict, int ema, value *out)
{
    for (size_t d = 0; d < sizeof drawers / sizeof *drawers; d++)
        for (size_t i = 0; i < count_of(m, dict) && drawers[d].ema == ema; i += 2)
            if (text_is(m, item_of(m, dict, i), drawers[d].name) && item_of(m, dict, i + 1).kind == DICT)
                return *out = item_of(m, dict, i + 1), 1;
    return 0;
}

/* The dict that holds the weights: the pickle's own, or one in its drawers' drawers. */
static en_status find_state_dict(const machine *m, int ema, value *dict)
{
    enum { DRAWERS = 4 }; /* inside each other; a dict can contain itself */
    value whole = m->stack[0];
    *dict = whole;
    if (whole.kind != DICT)
        return en_fail(m->e, EN_E_UNSUPPORTED, "the pickle holds %s, want a state dict", kind_names[whole.kind]);
    int averaged = 0;
    for (int depth = 0; depth < DRAWERS; depth++) {
        if (ema && !averaged && find_drawer(m, *dict, 1, dict))
            averaged = 1;
        else if (!find_drawer(m, *dict, 0, dict) && (averaged || !find_drawer(m, *dict, 1, dict)))
            break;
    }
    if (ema && !averaged) return en_fail(m->e, EN_E_FORMAT, "no moving average of the weights: want model_ema, state_dict_ema or ema");
    return EN_OK;
}

/* Adds to the pickle's entries. */
static en_status add_entry(machine *m, value name, size_t tensor)
{
    if (name.kind != TEXT) return en_fail(m->e, EN_E_FORMAT, "a name is %s, want a text", kind_names[name.kind]);
    wt_pickle_entry *grown = with_room(m, m->out.entry, m->out.entries, &m->entry_capacity, sizeof *grown);
    if (!grown) return m->status;
    m->out.entry = grown;
    m->out.entry[m->out.entries++] = (wt_pickle_entry){{(const char *)m->bytes + name.number, name.size}, .tensor = tensor};
    return EN_OK;
}

static en_status collect_tensors(machine *m, int ema)
{
    value dict;
    EN_TRY(find_state_dict(m, ema, &dict));
    for (size_t i = 0; i < count_of(m, dict); i += 2) {
        value v = item_of(m, dict, i + 1); /* or an epoch, a config: not weights */
        if (v.kind == TENSOR) EN_TRY(add_entry(m, item_of(m, dict, i), (size_t)v.number));
    }
    return m->out.entries ? EN_OK : en_fail(m->e, EN_E_FORMAT, "no tensor in the state dict");
}

static en_status collect_texts(machine *m)
{
    value list = m->stack[0];
    if (list.kind != LIST) return en_fail(m->e, EN_E_FORMAT, "the pickle holds %s, want a list", kind_names[list.kind]);
    for (size_t i = 0; i < count_of(m, list); i++) EN_TRY(add_entry(m, item_of(m, list, i), 0));
    return EN_OK;
}

static en_status collect_flag(machine *m, const char *key, int *flag)
{
    value dict = m->stack[0];
    for (size_t i = 0; dict.kind == DICT && i < count_of(m, dict); i += 2)
        if (text_is(m, item_of(m, dict, i), key) && item_of(m, dict, i + 1).kind == BOOLEAN)
            return *flag = item_of(m, dict, i + 1).number != 0, EN_OK;
    return en_fail(m->e, EN_E_FORMAT, "no truth value '%s' in a dict", key);
}

void wt_pickle_free(wt_pickle *pickle)
{
    free(pickle->storage);
    free(pickle->tensor);
    free(pickle->entry);
    *pickle = (wt_pickle){0};
}

static en_status run(machine *m)
{
    while (!m->stopped) EN_TRY(step(m));
    m->out.size = m->at;
    return EN_OK;
}

/* Hands over what was collected, or nothing. */
static en_status finish(machine *m, en_status status, wt_pickle *out)
{
    free(m->stack);
    free(m->memo);
    free(m->item);
    free(m->container);
    if (status != EN_OK) wt_pickle_free(&m->out);
    *out = m->out;
    return status;
}

static machine machine_on(const uint8_t *bytes, size_t size, en_error *e)
{
    return (machine){.e = e, .bytes = bytes, .size = size < MAX_BYTES ? size : MAX_BYTES};
}

en_status wt_pickle_parse(const uint8_t *bytes, size_t size, int ema, wt_pickle *out, en_error *e)
{
    machine m = machine_on(bytes, size, e);
    en_status status = run(&m);
    if (status == EN_OK) status = collect_tensors(&m, ema);
    return finish(&m, status, out);
}

en_status wt_pickle_parse_texts(const uint8_t *bytes, size_t size, wt_pickle *out, en_error *e)
{
    machine m = machine_on(bytes, size, e);
    en_status status = run(&m);
    if (status == EN_OK) status = collect_texts(&m);
    return finish(&m, status, out);
}

en_status wt_pickle_parse_flag(const uint8_t *bytes, size_t size, const char *key, int *flag, size_t *used, en_error *e)
{
    wt_pickle unused;
    machine m = machine_on(bytes, size, e);
    en_status status = run(&m);
    if (status == EN_OK) status = collect_flag(&m, key, flag);
    *used = m.out.size;
    status = finish(&m, status, &unused);
    wt_pickle_free(&unused);
    return status;
}
