/* SPDX-License-Identifier: MIT */
/*
 * itree.c: see itree.h.
 *
 * A node is eight cache lines: a count and columns of words. A leaf has three columns of 21 entries (start, identity, end), an
 * inner node four of 15 (the same, then the child), where start and identity are a lower bound of the child's keys and end is
 * the greatest end below it. One set of routines moves entries in both. Columns rather than records, because a search reads one
 * or two columns only; and the unused tail of `start` holds ~0 and of `end` 0, so that searches run over whole columns without
 * a branch on the count: at one misprediction a level those would cost more than the memory.
 *
 * Fill. A full node first gives to a neighbour, then splits; at its very end (ascending insertion) it splits off nothing
 * but the new entry. So leaves are full when filled in order and well over two thirds full in random order. A node that
 * falls below a quarter is merged with a neighbour or levelled out with it; a merged node is not split again before it is
 * full, so nothing thrashes. Inner nodes keep at least four children, which bounds the height.
 */
#include "core/itree.h"

#include <assert.h>
#include <limits.h>
#include <string.h>

#define NODE_BYTES 512u
#define NODE_WORDS (NODE_BYTES / sizeof(uintptr_t) - 1)
#define LEAF_MAX 21u
#define INNER_MAX 15u
#define LEAF_MIN 5u
#define INNER_MIN 4u
#define HEIGHT_MAX 28u   /* 2 * 4^26 leaves: more than addresses */
#define RESERVE_KEEP 32u /* nodes kept for the next insertions: 16 KiB */
#define RESERVE_EXTRA 8u /* fetched beyond the need, so that fetching is rare */

enum column { START, ID, END, CHILD };

struct itree_node {
	uintptr_t count;
	uintptr_t word[NODE_WORDS];
};

static_assert(sizeof(struct itree_node) <= NODE_BYTES, "a node is eight cache lines");
#define ITREE_INDEX_MASK ((UINT64_C(1) << ITREE_INDEX_BITS) - 1)

static_assert(LEAF_MAX <= ITREE_INDEX_MASK, "a mark has room for the index");
static_assert(LEAF_MAX * 3 <= NODE_WORDS && INNER_MAX * 4 <= NODE_WORDS, "columns fit");

struct entry {
	uintptr_t word[4]; /* by column */
};

struct step {
	struct itree_node *node;
	uint32_t index; /* of the child that the path goes through */
};

/* step[1] is the leaf, step[height] the root. */
struct path {
	struct step step[HEIGHT_MAX + 1];
};

static inline uint32_t capacity(bool leaf)
{
	return leaf ? LEAF_MAX : INNER_MAX;
}

static inline uint32_t columns(bool leaf)
{
	return leaf ? 3 : 4;
}

static inline uint32_t minimum(bool leaf)
{
	return leaf ? LEAF_MIN : INNER_MIN;
}

static inline uintptr_t *column(struct itree_node *node, bool leaf, enum column c)
{
	return node->word + (size_t)c * capacity(leaf);
}

static inline const uintptr_t *column_of(const struct itree_node *node, bool leaf, enum column c)
{
	return node->word + (size_t)c * capacity(leaf);
}

static inline struct itree_node *child_at(const struct itree_node *node, uint32_t i)
{
	return (struct itree_node *)column_of(node, false, CHILD)[i];
}

/*
 * The whole node, so that its lines come together and not one after the other as the search needs them; those of the column
 * that is searched first come first: the ends, which lie last, for a query.
 */
static inline void prefetch_ends_first(const struct itree_node *node)
{
#pragma GCC unroll 8
	for (size_t at = NODE_BYTES; at > 0; at -= 64)
		__builtin_prefetch((const char *)node + at - 64);
}

static inline void prefetch_starts_first(const struct itree_node *node)
{
#pragma GCC unroll 8
	for (size_t at = 0; at < NODE_BYTES; at += 64)
		__builtin_prefetch((const char *)node + at);
}

/* ---- searching within a node ---- */

/* How many starts are below s. */
static inline uint32_t rank_below(const struct itree_node *node, bool leaf, uintptr_t s)
{
	const uintptr_t *start = column_of(node, leaf, START);
	uint32_t rank = 0;

#pragma GCC unroll 21
	for (uint32_t i = 0; i < capacity(leaf); i++)
		rank += start[i] < s;
	return rank;
}

/* How many keys are not above (s, id). Equal starts are rare, so only they look at identities. */
static inline uint32_t rank_key(const struct itree_node *node, bool leaf, uintptr_t s, uintptr_t id)
{
	const uintptr_t *start = column_of(node, leaf, START), *ids = column_of(node, leaf, ID);
	uint32_t rank = rank_below(node, leaf, s);

	while (rank < node->count && start[rank] == s && ids[rank] <= id)
		rank++;
	return rank;
}

#define NONE UINT32_MAX

/*
 * The first entry from `from` on that reaches (or whose child does) beyond `start`, if it begins below `end`; if it does
 * not, nor does any after it. Only one of the starts is looked at, so most of their lines are never waited for.
 */
static inline uint32_t first_overlap(const struct itree_node *node, bool leaf, uint32_t from, uintptr_t start, uintptr_t end)
{
	const uintptr_t *ends = column_of(node, leaf, END);
	uint32_t mask = 0, i;

#pragma GCC unroll 21
	for (uint32_t k = capacity(leaf); k-- > 0;)
		mask = mask * 2 + (ends[k] > start);
	mask &= ~((1u << from) - 1);
	if (!mask)
		return NONE;
	i = (uint32_t)__builtin_ctz(mask);
	return column_of(node, leaf, START)[i] < end ? i : NONE;
}

static inline uint32_t child_for(const struct itree_node *node, uintptr_t s, uintptr_t id)
{
	uint32_t rank = rank_key(node, false, s, id);

	return rank ? rank - 1 : 0;
}

static uintptr_t max_end(const struct itree_node *node, bool leaf)
{
	const uintptr_t *ends = column_of(node, leaf, END);
	uintptr_t max = 0;

#pragma GCC unroll 21
	for (uint32_t i = 0; i < capacity(leaf); i++)
		max = ends[i] > max ? ends[i] : max;
	return max;
}

/* ---- moving entries ---- */

static struct entry summary(struct itree_node *child, bool leaf)
{
	return (struct entry){
		{column(child, leaf, START)[0], column(child, leaf, ID)[0], max_end(child, leaf), (uintptr_t)child}};
}

/* After the count went down: what lies beyond it must not be found. */
static void pad(struct itree_node *node, bool leaf)
{
	for (uint32_t i = (uint32_t)node->count; i < capacity(leaf); i++) {
		column(node, leaf, START)[i] = UINTPTR_MAX;
		column(node, leaf, END)[i] = 0;
	}
}

static void node_begin(struct itree_node *node, bool leaf)
{
	node->count = 0;
	pad(node, leaf);
}

static inline void put_at(struct itree_node *node, bool leaf, uint32_t at, const struct entry *e)
{
	uint32_t n = (uint32_t)node->count;

	for (uint32_t c = 0; c < columns(leaf); c++) {
		uintptr_t *w = column(node, leaf, (enum column)c);

		memmove(w + at + 1, w + at, (n - at) * sizeof(*w));
		w[at] = e->word[c];
	}
	node->count = n + 1;
}

static inline void delete_at(struct itree_node *node, bool leaf, uint32_t at)
{
	uint32_t n = (uint32_t)node->count - 1;

	for (uint32_t c = 0; c < columns(leaf); c++) {
		uintptr_t *w = column(node, leaf, (enum column)c);

		memmove(w + at, w + at + 1, (n - at) * sizeof(*w));
	}
	node->count = n;
	column(node, leaf, START)[n] = UINTPTR_MAX;
	column(node, leaf, END)[n] = 0;
}

/* Moves n entries over the border between two neighbours: to the right if n > 0, to the left if n < 0. */
static void move_entries(struct itree_node *left, struct itree_node *right, bool leaf, int n)
{
	uint32_t k = (uint32_t)(n > 0 ? n : -n), l = (uint32_t)left->count, r = (uint32_t)right->count;

	for (uint32_t c = 0; c < columns(leaf); c++) {
		uintptr_t *from = column(left, leaf, (enum column)c), *to = column(right, leaf, (enum column)c);

		if (n > 0) {
			memmove(to + k, to, r * sizeof(*to));
			memcpy(to, from + l - k, k * sizeof(*to));
		} else {
			memcpy(from + l, to, k * sizeof(*to));
			memmove(to, to + k, (r - k) * sizeof(*to));
		}
	}
	left->count = n > 0 ? l - k : l + k;
	right->count = n > 0 ? r + k : r - k;
	pad(n > 0 ? left : right, leaf);
}

/* The parent's entry i anew, from the child. */
static void refresh(struct itree_node *parent, uint32_t i, bool leaf)
{
	struct entry e = summary(child_at(parent, i), leaf);

	for (uint32_t c = 0; c < 4; c++)
		column(parent, false, (enum column)c)[i] = e.word[c];
}

/* ---- nodes ---- */

static struct itree_node *node_new(struct itree *t, bool leaf)
{
	struct itree_node *node = spare_take(&t->reserve);

	assert(node); /* itree_ready() said so */
	node_begin(node, leaf);
	t->nodes++;
	return node;
}

static void node_drop(struct itree *t, struct itree_node *node)
{
	spare_put(&t->reserve, node);
	t->nodes--;
}

static void forget(struct itree *t)
{
	t->root = NULL;
	t->height = 0;
	t->nodes = 0;
	t->count = 0;
	t->version++;
	t->reserve = (struct spare){0};
}

void itree_init(struct itree *t)
{
	*t = (struct itree){0};
	pool_init(&t->pool, NODE_BYTES, UINT64_MAX);
}

void itree_destroy(struct itree *t)
{
	pool_destroy(&t->pool);
	forget(t);
}

void itree_reset(struct itree *t)
{
	pool_abandon(&t->pool);
	forget(t);
}

int itree_refill(struct itree *t, struct spare *spare)
{
	return spare_fill(spare, &t->pool, spare->want);
}

void itree_release(struct itree *t, struct spare *spare)
{
	spare_drain(spare, &t->pool);
}

bool itree_ready(struct itree *t, struct spare *spare)
{
	/* A split on each level and a new root; a first leaf. */
	uint32_t need = t->height + 1;

	spare_move(&t->reserve, spare, 0);
	if (t->reserve.count >= need)
		return true;
	spare->want = need + RESERVE_EXTRA;
	return false;
}

uint64_t itree_bytes(const struct itree *t)
{
	return ((uint64_t)t->nodes + t->reserve.count) * NODE_BYTES;
}

/* ---- insertion ---- */

/* Down to the leaf where the key belongs; what is passed on the way is widened for it, if it is going to be inserted. */
static void descend(struct itree *t, struct path *p, const struct entry *e, bool widen)
{
	struct itree_node *node = t->root;
	uintptr_t s = e->word[START], id = e->word[ID];

	for (uint32_t level = t->height; level > 1; level--) {
		uint32_t i = child_for(node, s, id);

		p->step[level] = (struct step){node, i};
		if (widen) {
			uintptr_t *start = column(node, false, START), *ids = column(node, false, ID),
				  *end = column(node, false, END);

			if (s < start[i] || (s == start[i] && id < ids[i])) {
				start[i] = s;
				ids[i] = id;
			}
			if (end[i] < e->word[END])
				end[i] = e->word[END];
		}
		node = child_at(node, i);
		prefetch_starts_first(node);
	}
	p->step[1] = (struct step){node, 0};
}

/* A full node gives half of a neighbour's room to it; the new entry goes where it then belongs. False: there is no room. */
static bool give_to_neighbour(struct step *up, struct itree_node *node, bool leaf, uint32_t at, const struct entry *e)
{
	uint32_t i = up->index, max = capacity(leaf), k;
	struct itree_node *other;

	if (i + 1 < up->node->count) {
		other = child_at(up->node, i + 1);
		k = (max - (uint32_t)other->count + 1) / 2;
		if (other->count + 2 <= max) {
			move_entries(node, other, leaf, (int)k);
			if (at <= node->count)
				put_at(node, leaf, at, e);
			else
				put_at(other, leaf, at - (uint32_t)node->count, e);
			refresh(up->node, i, leaf);
			refresh(up->node, i + 1, leaf);
			return true;
		}
	}
	if (i == 0)
		return false;
	other = child_at(up->node, i - 1);
	k = (max - (uint32_t)other->count + 1) / 2;
	if (other->count + 2 > max)
		return false;
	move_entries(other, node, leaf, -(int)k);
	if (at < k)
		put_at(other, leaf, (uint32_t)other->count - k + at, e);
	else
		put_at(node, leaf, at - k, e);
	refresh(up->node, i - 1, leaf);
	refresh(up->node, i, leaf);
	return true;
}

/* How many entries stay in the left half of a split, the new entry apart. */
static uint32_t split_point(bool leaf, uint32_t at)
{
	uint32_t max = capacity(leaf);

	if (leaf && (at == max || at == 0)) /* ascending or descending: leave a full leaf behind */
		return at;
	if (at == max)
		return max - INNER_MIN;
	return max / 2 + 1;
}

static struct itree_node *split(struct itree *t, struct itree_node *node, bool leaf, uint32_t at, const struct entry *e)
{
	struct itree_node *right = node_new(t, leaf);
	uint32_t keep = split_point(leaf, at), moved = capacity(leaf) - keep;

	if (moved)
		move_entries(node, right, leaf, (int)moved);
	if (at < keep || (at == keep && moved))
		put_at(node, leaf, at, e);
	else
		put_at(right, leaf, at - keep, e);
	return right;
}

static void grow_root(struct itree *t, struct itree_node *right)
{
	bool leaf = t->height == 1;
	struct itree_node *root = node_new(t, false);
	struct entry l = summary(t->root, leaf), r = summary(right, leaf);

	put_at(root, false, 0, &l);
	put_at(root, false, 1, &r);
	t->root = root;
	t->height++;
	assert(t->height <= HEIGHT_MAX);
}

/* The entry into the leaf at the end of the path; splits go up as far as they must. */
static void insert_along(struct itree *t, struct path *p, struct entry e)
{
	uint32_t at = rank_key(p->step[1].node, true, e.word[START], e.word[ID]);

	for (uint32_t level = 1;; level++) {
		struct itree_node *node = p->step[level].node, *right;
		bool leaf = level == 1;

		if (node->count < capacity(leaf)) {
			put_at(node, leaf, at, &e);
			return;
		}
		if (level < t->height && give_to_neighbour(&p->step[level + 1], node, leaf, at, &e))
			return;
		right = split(t, node, leaf, at, &e);
		if (level == t->height) {
			grow_root(t, right);
			return;
		}
		refresh(p->step[level + 1].node, p->step[level + 1].index, leaf);
		e = summary(right, leaf);
		at = p->step[level + 1].index + 1;
	}
}

bool itree_insert(struct itree *t, struct uhmm_notifier *n, struct spare *spare)
{
	struct entry e = {{n->private_start, (uintptr_t)n, n->private_end, 0}};
	struct path p;

	assert(n->private_start < n->private_end);
	if (!itree_ready(t, spare))
		return false;
	if (!t->root) {
		t->root = node_new(t, true);
		t->height = 1;
	}
	descend(t, &p, &e, true);
	insert_along(t, &p, e);
	t->count++;
	t->version++;
	return true;
}

/* ---- removal ---- */

/* Two neighbours, one of them too empty: one node if they fit, else halves. */
static void merge_or_level(struct itree *t, struct step *up, bool leaf)
{
	uint32_t i = up->index + 1 < up->node->count ? up->index : up->index - 1;
	struct itree_node *left = child_at(up->node, i), *right = child_at(up->node, i + 1);
	uint32_t sum = (uint32_t)(left->count + right->count);

	if (sum <= capacity(leaf)) {
		move_entries(left, right, leaf, -(int)right->count);
		delete_at(up->node, false, i + 1);
		node_drop(t, right);
	} else {
		move_entries(left, right, leaf, (int)left->count - (int)(sum / 2));
		refresh(up->node, i + 1, leaf);
	}
	refresh(up->node, i, leaf);
}

static void shrink_root(struct itree *t)
{
	while (t->height > 1 && t->root->count == 1) {
		struct itree_node *old = t->root;

		t->root = child_at(old, 0);
		t->height--;
		node_drop(t, old);
	}
	if (t->height == 1 && t->root->count == 0) {
		node_drop(t, t->root);
		t->root = NULL;
		t->height = 0;
	}
}

/* From the leaf up: counts within bounds, greatest ends exact. Stops where nothing changes any more. */
static void repair(struct itree *t, struct path *p, uintptr_t removed_end)
{
	for (uint32_t level = 1; level < t->height; level++) {
		struct itree_node *node = p->step[level].node;
		struct step *up = &p->step[level + 1];
		uintptr_t *end = &column(up->node, false, END)[up->index];
		bool leaf = level == 1;

		if (node->count < minimum(leaf)) {
			merge_or_level(t, up, leaf);
			continue;
		}
		if (*end != removed_end)
			return;
		*end = max_end(node, leaf);
		if (*end == removed_end)
			return;
	}
	shrink_root(t);
}

void itree_remove(struct itree *t, struct uhmm_notifier *n, struct spare *spare)
{
	struct entry e = {{n->private_start, (uintptr_t)n, n->private_end, 0}};
	struct path p;
	struct itree_node *leaf;
	uint32_t rank;

	if (!t->root)
		return;
	descend(t, &p, &e, false);
	leaf = p.step[1].node;
	rank = rank_key(leaf, true, e.word[START], e.word[ID]);
	assert(rank > 0 && column(leaf, true, ID)[rank - 1] == (uintptr_t)n);
	if (rank == 0 || column(leaf, true, ID)[rank - 1] != (uintptr_t)n)
		return;
	delete_at(leaf, true, rank - 1);
	t->count--;
	t->version++;
	repair(t, &p, e.word[END]);
	if (spare)
		spare_move(spare, &t->reserve, RESERVE_KEEP);
}

/* ---- queries ---- */

static struct uhmm_notifier *found(const struct itree *t, const struct itree_node *leaf, uint32_t i, struct itree_cursor *c)
{
	uintptr_t id = column_of(leaf, true, ID)[i];

	/* And the next line: where the notifier straddles two, or what it is part of goes on. Callbacks need both at once. */
	__builtin_prefetch((const void *)id);
	__builtin_prefetch((const char *)id + 64);
	c->key_start = column_of(leaf, true, START)[i];
	c->key_id = id;
	c->key_end = column_of(leaf, true, END)[i];
	c->leaf = leaf;
	c->index = i;
	c->version = t->version;
	return (struct uhmm_notifier *)id;
}

/*
 * The first overlap below a node of the level. It never has to turn back: a child that reaches beyond c->start and yet holds no
 * overlap reaches there only by entries that begin at or after c->end, and so does everything to its right.
 */
static struct uhmm_notifier *first_below(const struct itree *t, const struct itree_node *node, uint32_t level,
					 struct itree_cursor *c)
{
	uint32_t i;

	for (; level > 1; level--) {
		i = first_overlap(node, false, 0, c->start, c->end);
		if (i == NONE)
			return NULL;
		node = child_at(node, i);
		prefetch_ends_first(node);
	}
	i = first_overlap(node, true, 0, c->start, c->end);
	return i == NONE ? NULL : found(t, node, i, c);
}

/* The first overlap after the cursor's key: down the key's own path, remembering the nearest way to the right of it. */
static struct uhmm_notifier *next_from_root(const struct itree *t, struct itree_cursor *c)
{
	const struct itree_node *node = t->root, *aside = NULL;
	uint32_t aside_level = 0, i;

	for (uint32_t level = t->height; level > 1; level--) {
		uint32_t own = child_for(node, c->key_start, c->key_id);

		i = first_overlap(node, false, own + 1, c->start, c->end);
		if (i != NONE) {
			aside = child_at(node, i);
			aside_level = level - 1;
		}
		if (column_of(node, false, END)[own] <= c->start) /* its own path reaches nothing from here on */
			return aside ? first_below(t, aside, aside_level, c) : NULL;
		node = child_at(node, own);
		prefetch_ends_first(node);
	}
	i = first_overlap(node, true, rank_key(node, true, c->key_start, c->key_id), c->start, c->end);
	if (i != NONE)
		return found(t, node, i, c);
	return aside ? first_below(t, aside, aside_level, c) : NULL;
}

struct uhmm_notifier *itree_first(const struct itree *t, uintptr_t start, uintptr_t end, struct itree_cursor *c)
{
	c->start = start;
	c->end = end;
	c->leaf = NULL;
	c->key_start = c->key_id = c->key_end = 0;
	return t->root ? first_below(t, t->root, t->height, c) : NULL;
}

struct uhmm_notifier *itree_recall(const struct itree *t, const struct itree_node *leaf, uint64_t mark, uintptr_t start,
				   uintptr_t end, struct itree_cursor *c)
{
	if ((mark | ITREE_INDEX_MASK) != (ITREE_MARK | t->version << ITREE_INDEX_BITS | ITREE_INDEX_MASK))
		return NULL;
	c->start = start;
	c->end = end;
	return found(t, leaf, (uint32_t)(mark & ITREE_INDEX_MASK), c);
}

/* To begin at or before `start` and end at or after `end` is to overlap the "range" [end - 1, start + 1). */
struct uhmm_notifier *itree_first_containing(const struct itree *t, uintptr_t start, uintptr_t end, struct itree_cursor *c)
{
	return itree_first(t, end - 1, start + 1, c);
}

struct uhmm_notifier *itree_next(const struct itree *t, struct itree_cursor *c)
{
	if (!t->root)
		return NULL;
	if (c->leaf && c->version == t->version) {
		uint32_t i = first_overlap(c->leaf, true, c->index + 1, c->start, c->end);

		if (i != NONE)
			return found(t, c->leaf, i, c);
		/* Where the leaf goes on beyond the query, the search is over: the usual end of it. */
		if (column_of(c->leaf, true, START)[c->leaf->count - 1] >= c->end)
			return NULL;
	}
	return next_from_root(t, c);
}

bool itree_overlaps(const struct itree *t, uintptr_t start, uintptr_t end)
{
	struct itree_cursor c;

	return itree_first(t, start, end, &c) != NULL;
}

/* ---- checking ---- */

struct check {
	uint64_t entries, nodes;
	uintptr_t last_start, last_id;
	bool any;
};

static const char *check_columns(const struct itree_node *node, bool leaf)
{
	const uintptr_t *start = column_of(node, leaf, START), *end = column_of(node, leaf, END);

	if (node->count > capacity(leaf))
		return "count beyond capacity";
	for (size_t i = node->count; i < capacity(leaf); i++)
		if (start[i] != UINTPTR_MAX || end[i] != 0)
			return "tail not padded";
	return NULL;
}

static const char *check_leaf(const struct itree_node *leaf, struct check *k)
{
	for (size_t i = 0; i < leaf->count; i++) {
		uintptr_t s = column_of(leaf, true, START)[i], id = column_of(leaf, true, ID)[i];

		if (k->any && (s < k->last_start || (s == k->last_start && id <= k->last_id)))
			return "keys not ascending";
		if (s >= column_of(leaf, true, END)[i])
			return "empty range";
		k->any = true;
		k->last_start = s;
		k->last_id = id;
		k->entries++;
	}
	return NULL;
}

static const char *check_below(const struct itree_node *node, uint32_t level, bool root, struct check *k);

static const char *check_child(const struct itree_node *node, uint32_t i, uint32_t level, struct check *k)
{
	const struct itree_node *child = child_at(node, i);
	uintptr_t s = column_of(node, false, START)[i], id = column_of(node, false, ID)[i];
	bool leaf = level == 2;

	/* The bound lies above everything to the left, and not above anything below it. */
	if (k->any && (s < k->last_start || (s == k->last_start && id <= k->last_id)))
		return "bound not above the left neighbour";
	if (child->count == 0)
		return "empty child";
	if (s > column_of(child, leaf, START)[0] ||
	    (s == column_of(child, leaf, START)[0] && id > column_of(child, leaf, ID)[0]))
		return "bound above its child";
	if (column_of(node, false, END)[i] != max_end(child, leaf))
		return "greatest end is wrong";
	return check_below(child, level - 1, false, k);
}

static const char *check_below(const struct itree_node *node, uint32_t level, bool root, struct check *k)
{
	const char *wrong = check_columns(node, level == 1);

	k->nodes++;
	if (wrong)
		return wrong;
	if (level == 1)
		return node->count == 0 ? "empty leaf" : check_leaf(node, k);
	if (node->count < (root ? 2 : INNER_MIN))
		return "inner node below its minimum";
	for (uint32_t i = 0; i < node->count && !wrong; i++)
		wrong = check_child(node, i, level, k);
	return wrong;
}

const char *itree_check(const struct itree *t)
{
	struct check k = {0};
	const char *wrong = NULL;
	uint32_t reserve = 0;

	if (!t->root != !t->height)
		return "root and height disagree";
	if (t->root)
		wrong = check_below(t->root, t->height, true, &k);
	if (wrong)
		return wrong;
	if (k.entries != t->count)
		return "count of notifiers is wrong";
	if (k.nodes != t->nodes)
		return "count of nodes is wrong";
	for (const void *at = t->reserve.first; at; at = *(void *const *)at)
		reserve++;
	return reserve == t->reserve.count ? NULL : "reserve is wrong";
}
