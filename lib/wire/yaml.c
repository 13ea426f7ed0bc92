/*
 * yaml: drives libyaml's event parser and builds JSON values as the events come. Open mappings and
 * sequences stand on a stack of fixed depth; nothing recurses, so hostile nesting costs nothing.
 *
 * What a plain scalar means follows what kubectl does today (YAML 1.1 booleans, Go's integer
 * prefixes, dates left alone): otherwise one file would mean two things. Aliases are refused rather
 * than bounded: no Route or kubeconfig needs them, and they multiply.
 */
#include "lib/wire/yaml.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

enum { NUMBER_MAX = 128 }; /* bytes of a number; longer ones are strings */

struct level {
    yyjson_mut_val *container;
    yyjson_mut_val *key; /* of a mapping: the key whose value comes next; NULL: a key comes next */
    size_t count;
};

struct reader {
    struct str text;
    yaml_parser_t parser;
    yyjson_mut_doc *doc;
    struct level levels[YAML_DEPTH_MAX + 1]; /* the first is the array of documents */
    size_t depth;                            /* open levels */
    bool notes_lines;
    size_t *lines; /* of each value and key, in their order */
    size_t line_count, line_room;
    struct yaml_error *error;
};

static int refuse(struct reader *reader, yaml_mark_t mark, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int refuse(struct reader *reader, yaml_mark_t mark, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reader->error->text, sizeof(reader->error->text), format, args);
    va_end(args);
    reader->error->line = mark.line + 1;
    reader->error->column = mark.column + 1;
    return -EINVAL;
}

/* One of the words, each between two spaces? They come in three spellings: on, On, ON. */
static bool is_word(struct str text, const char *words)
{
    char padded[16];

    if (text.len > sizeof(padded) - 3)
        return false;
    snprintf(padded, sizeof(padded), " " STR_FMT " ", STR_ARG(text));
    return !memchr(text.ptr, ' ', text.len) && strstr(words, padded);
}

/* [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)? */
static bool is_decimal(const char *p)
{
    size_t whole, fraction = 0;

    p += *p == '-' || *p == '+';
    whole = strspn(p, "0123456789");
    p += whole;
    if (*p == '.') {
        fraction = strspn(p + 1, "0123456789");
        p += 1 + fraction;
    }
    if (whole + fraction == 0)
        return false;
    if (*p == 'e' || *p == 'E') {
        p += 1;
        p += *p == '-' || *p == '+';
        if (!strspn(p, "0123456789"))
            return false;
        p += strspn(p, "0123456789");
    }
    return !*p;
}

/* Go's integers: 0x, 0o, 0b, and a leading 0 for octal. NULL: not one that fits 64 bits. */
static yyjson_mut_val *read_integer(yyjson_mut_doc *doc, const char *text)
{
    bool negative = *text == '-';
    const char *digits = text + (*text == '-' || *text == '+');
    int base = 10;
    char *end;
    unsigned long long number;

    if (digits[0] == '0' && digits[1]) {
        static const char prefixes[] = "xXoObB";
        static const int bases[] = {16, 8, 2};
        const char *prefix = strchr(prefixes, digits[1]);

        base = prefix ? bases[(prefix - prefixes) / 2] : 8;
        digits += prefix ? 2 : 1;
    }
    /* strtoull would take blanks, a second sign and a second prefix. */
    if (!strchr("0123456789abcdefABCDEF", *digits) || !*digits ||
        (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X')))
        return NULL;
    errno = 0;
    number = strtoull(digits, &end, base);
    if (errno || *end || (negative && number > (unsigned long long)INT64_MAX + 1))
        return NULL;
    return negative ? yyjson_mut_sint(doc, (int64_t)(0 - number)) : yyjson_mut_uint(doc, number);
}

/* NULL: not a number. */
static yyjson_mut_val *read_number(yyjson_mut_doc *doc, struct str text)
{
    char plain[NUMBER_MAX];
    size_t length = 0;
    yyjson_mut_val *value;
    double number;

    if (text.len >= sizeof(plain) || !strchr("+-.0123456789", text.ptr[0]))
        return NULL;
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] != '_')
            plain[length++] = text.ptr[i];
    plain[length] = '\0';
    value = read_integer(doc, plain);
    if (value || !is_decimal(plain))
        return value;
    number = strtod(plain, NULL);
    if (!isfinite(number))
        return NULL;
    if (number == floor(number) &&
        fabs(number) < 9007199254740992.0) /* JSON has one kind: 1.0 is 1 */
        return yyjson_mut_sint(doc, (int64_t)number);
    return yyjson_mut_real(doc, number);
}

static int read_plain(struct reader *reader, struct str text, yaml_mark_t mark,
                      yyjson_mut_val **ret_value)
{
    yyjson_mut_doc *doc = reader->doc;

    *ret_value = NULL;
    if (!text.len || is_word(text, " ~ null Null NULL ")) {
        *ret_value = yyjson_mut_null(doc);
    } else if (is_word(text, " true True TRUE yes Yes YES y Y on On ON ")) {
        *ret_value = yyjson_mut_true(doc);
    } else if (is_word(text, " false False FALSE no No NO n N off Off OFF ")) {
        *ret_value = yyjson_mut_false(doc);
    } else if (is_word(text,
                       " .nan .NaN .NAN .inf .Inf .INF +.inf +.Inf +.INF -.inf -.Inf -.INF ")) {
        return refuse(reader, mark, STR_FMT " has no meaning here: quote it if it is a string",
                      STR_ARG(text));
    } else if (str_equal(text, STR_LIT("<<"))) {
        return refuse(reader, mark, "merge keys (<<) are not supported: write the fields out");
    } else {
        *ret_value = read_number(doc, text);
        if (!*ret_value)
            *ret_value = yyjson_mut_strncpy(doc, text.ptr, text.len);
    }
    return *ret_value ? 0 : -ENOMEM;
}

/* For the value, or the key, that the document gets next. */
static int note_line(struct reader *reader, yaml_mark_t mark)
{
    size_t *lines;

    if (!reader->notes_lines)
        return 0;
    if (reader->line_count == reader->line_room) {
        reader->line_room = 2 * reader->line_room + 64;
        lines = reallocarray(reader->lines, reader->line_room, sizeof(*lines));
        if (!lines)
            return -ENOMEM;
        reader->lines = lines;
    }
    reader->lines[reader->line_count++] = mark.line + 1;
    return 0;
}

/* Puts value where the innermost level expects one. */
static int add(struct reader *reader, yyjson_mut_val *value, yaml_mark_t mark)
{
    struct level *level = &reader->levels[reader->depth - 1];

    if (note_line(reader, mark) < 0)
        return -ENOMEM;
    if (!level->key)
        return yyjson_mut_arr_append(level->container, value) ? 0 : -ENOMEM;
    if (!yyjson_mut_obj_add(level->container, level->key, value))
        return -ENOMEM;
    level->key = NULL;
    return 0;
}

static bool key_comes_next(const struct reader *reader)
{
    const struct level *level = &reader->levels[reader->depth - 1];

    return yyjson_mut_is_obj(level->container) && !level->key;
}

static int add_key(struct reader *reader, struct str text, yaml_mark_t mark)
{
    struct level *level = &reader->levels[reader->depth - 1];

    if (str_equal(text, STR_LIT("<<")))
        return refuse(reader, mark, "merge keys (<<) are not supported: write the fields out");
    if (yyjson_mut_obj_getn(level->container, text.ptr, text.len))
        return refuse(reader, mark, "the key \"%.*s\" is here a second time",
                      (int)(text.len < 100 ? text.len : 100), text.ptr);
    if (++level->count > YAML_KEYS_MAX)
        return refuse(reader, mark, "more than %d keys in one mapping", YAML_KEYS_MAX);
    level->key = yyjson_mut_strncpy(reader->doc, text.ptr, text.len);
    return level->key ? note_line(reader, mark) : -ENOMEM;
}

static int on_scalar(struct reader *reader, const yaml_event_t *event)
{
    struct str text = str_make((const char *)event->data.scalar.value, event->data.scalar.length);
    const char *tag = (const char *)event->data.scalar.tag;
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    yyjson_mut_val *value = NULL;
    int error = 0;

    if (tag && strcmp(tag, YAML_STR_TAG) != 0 && strcmp(tag, "!") != 0)
        return refuse(reader, event->start_mark, "the tag %.100s is not supported", tag);
    if (key_comes_next(reader))
        return add_key(reader, text, event->start_mark);
    if (plain && !tag)
        error = read_plain(reader, text, event->start_mark, &value);
    else
        value = yyjson_mut_strncpy(reader->doc, text.ptr, text.len);
    if (error || !value)
        return error ? error : -ENOMEM;
    if (reader->depth == 1 && yyjson_mut_is_null(value)) /* an empty document */
        return 0;
    return add(reader, value, event->start_mark);
}

static int on_open(struct reader *reader, const yaml_event_t *event)
{
    bool mapping = event->type == YAML_MAPPING_START_EVENT;
    const yaml_char_t *tag =
        mapping ? event->data.mapping_start.tag : event->data.sequence_start.tag;
    yyjson_mut_val *container;
    int error;

    if (tag)
        return refuse(reader, event->start_mark, "the tag %.100s is not supported",
                      (const char *)tag);
    if (key_comes_next(reader))
        return refuse(reader, event->start_mark, "a key must be a plain word or a string");
    if (reader->depth > YAML_DEPTH_MAX)
        return refuse(reader, event->start_mark, "nested deeper than %d levels", YAML_DEPTH_MAX);
    container = mapping ? yyjson_mut_obj(reader->doc) : yyjson_mut_arr(reader->doc);
    if (!container)
        return -ENOMEM;
    error = add(reader, container, event->start_mark);
    if (error)
        return error;
    reader->levels[reader->depth++] = (struct level){.container = container};
    return 0;
}

static int on_document(struct reader *reader, const yaml_event_t *event)
{
    if (++reader->levels[0].count > YAML_DOCUMENTS_MAX)
        return refuse(reader, event->start_mark, "more than %d documents", YAML_DOCUMENTS_MAX);
    return 0;
}

static const yaml_char_t *event_anchor(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return event->data.alias.anchor;
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor;
    default:
        return NULL;
    }
}

static int on_event(struct reader *reader, const yaml_event_t *event)
{
    if (event_anchor(event))
        return refuse(reader, event->start_mark,
                      "anchors and aliases (&, *) are not supported: write the value out, or quote "
                      "it if it is a string");
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(reader, event);
    case YAML_SCALAR_EVENT:
        return on_scalar(reader, event);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return on_open(reader, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        assert(reader->depth > 1);
        reader->depth--;
        return 0;
    default:
        return 0;
    }
}

/* A byte that cannot be: libyaml knows only its offset. */
static yaml_mark_t mark_at(struct str text, size_t offset)
{
    yaml_mark_t mark = {0};

    for (size_t i = 0; i < offset && i < text.len; i++) {
        mark.column = text.ptr[i] == '\n' ? 0 : mark.column + 1;
        mark.line += text.ptr[i] == '\n';
    }
    return mark;
}

/* What libyaml has to say, at the place where it noticed. */
static int parser_error(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;

    if (parser->error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    if (parser->error == YAML_READER_ERROR)
        return refuse(reader, mark_at(reader->text, parser->problem_offset), "%s", parser->problem);
    return refuse(reader, parser->problem_mark, "%s%s%s", parser->problem,
                  parser->context ? " " : "", parser->context ? parser->context : "");
}

static int read_events(struct reader *reader)
{
    bool done = false;
    int error = 0;

    while (!done && !error) {
        yaml_event_t event;

        if (!yaml_parser_parse(&reader->parser, &event))
            return parser_error(reader);
        error = on_event(reader, &event);
        done = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return error;
}

/* Reads reader->text; the caller frees lines, good or not. */
static int read_text(struct reader *reader, yyjson_doc **ret_documents)
{
    int error = -ENOMEM;

    if (!yaml_parser_initialize(&reader->parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&reader->parser, (const unsigned char *)reader->text.ptr,
                                 reader->text.len);
    yaml_parser_set_encoding(&reader->parser, YAML_UTF8_ENCODING);
    reader->doc = yyjson_mut_doc_new(NULL);
    reader->levels[0].container = yyjson_mut_arr(reader->doc);
    reader->depth = 1;
    if (reader->levels[0].container && note_line(reader, (yaml_mark_t){0}) == 0) {
        yyjson_mut_doc_set_root(reader->doc, reader->levels[0].container);
        error = read_events(reader);
    }
    if (!error) {
        *ret_documents = yyjson_mut_doc_imut_copy(reader->doc, NULL);
        error = *ret_documents ? 0 : -ENOMEM;
    }
    yyjson_mut_doc_free(reader->doc);
    yaml_parser_delete(&reader->parser);
    return error;
}

int yaml_read(struct str text, size_t max_bytes, yyjson_doc **ret_documents,
              struct yaml_error *ret_error)
{
    struct reader reader = {.text = text, .error = ret_error};
    yyjson_doc *documents;
    int error;

    *ret_error = (struct yaml_error){0};
    if (text.len > max_bytes) {
        snprintf(ret_error->text, sizeof(ret_error->text), "larger than %zu bytes", max_bytes);
        return -E2BIG;
    }
    error = read_text(&reader, &documents);
    if (!error)
        *ret_documents = documents;
    return error;
}

/* ---- lines ---- */

struct yaml_lines {
    yyjson_doc *documents;
    size_t *lines;
};

struct yaml_lines *yaml_lines_new(struct str text)
{
    struct yaml_error error;
    struct reader reader = {.text = text, .error = &error, .notes_lines = true};
    struct yaml_lines *lines = calloc(1, sizeof(*lines));

    if (!lines || read_text(&reader, &lines->documents) < 0) {
        free(reader.lines);
        free(lines);
        return NULL;
    }
    /* yyjson keeps the values and keys of a document in one array, in the order of the text. */
    assert(reader.line_count == yyjson_doc_get_val_count(lines->documents));
    lines->lines = reader.lines;
    return lines;
}

void yaml_lines_free(struct yaml_lines *lines)
{
    if (!lines)
        return;
    yyjson_doc_free(lines->documents);
    free(lines->lines);
    free(lines);
}

/* What the first step of the place leads to, and where the next begins; NULL: nothing. */
static yyjson_val *follow(yyjson_val *value, const char **place)
{
    const char *at = *place + (**place == '.');
    size_t length = strcspn(at, ".[:");
    char *end;
    size_t index;

    if (*at != '[') {
        *place = at + length;
        return length ? yyjson_obj_getn(value, at, length) : NULL;
    }
    index = strtoul(at + 1, &end, 10);
    *place = *end == ']' ? end + 1 : end;
    return *end == ']' ? yyjson_arr_get(value, index) : NULL;
}

size_t yaml_lines_find(const struct yaml_lines *lines, size_t document, const char *place)
{
    yyjson_val *root = lines ? yyjson_doc_get_root(lines->documents) : NULL;
    yyjson_val *value = yyjson_arr_get(root, document), *next = value;

    if (!value)
        return 1;
    while (next && *place && *place != ':') {
        next = follow(value, &place);
        value = next ? next : value;
    }
    return lines->lines[value - root];
}
