//! All rules in one trie, so that a decision costs a few look-ups, however many rules there are.
//!
//! ```text
//! (role, realm) ─▶ root ─ orders ─▶ ○ ─ + ─▶ ○ ─ ${user} ─▶ ○      each ○: which rule allows or denies
//!                    ├─── # ─▶ ○                                    which verb there, by its number
//!                    └─── ord# ─▶ ○
//! ```
//!
//! Each (role, realm) of a rule has a root of its own, with `*` for a role or realm like any other name. Every segment that
//! some rule names has a number, looked up once for an address; edges of the trie are between numbers. So a match visits only
//! nodes whose path fits the address: at most one for each way to read its segments as literal, `+` or placeholder.
//!
//! `TEXT#` ends a filter and so leads to no node: each node has a table of those, by their texts (`prefixes`).
//!
//! Rules are numbered by their names' order, and the lowest that decides is the one a verdict names: the answer and its
//! reason depend on the documents alone. So does the trust level: of all rules that allow it, the highest that one sets.
//!
//! Always, each with a test of its name in `index::tests`:
//! - `the_index_agrees_with_the_definition`: for any rules, principals, addresses and filters.
//! - `a_placeholder_is_never_a_wildcard`.
//! - `a_rule_that_cannot_be_read_denies_or_does_nothing`.
//!
//! Not here: who somebody is, and the role `admin`, which needs no rules (`snapshot`).

use std::borrow::Cow;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use self::prefixes::Prefixes;
use super::pattern::{Part, Pattern};
use crate::engine::address::{escape_first_segment, escape_segment};
use crate::registry::{Rule, Verb};
use restante_admin_api::document::Effect;

mod prefixes;

/// What stands for every role or realm in a rule.
pub(super) const ANY: &str = "*";

/// No node, no rule.
const NONE: u32 = u32::MAX;

/// The number of every segment that no rule names: it has no edges.
const UNNAMED: u32 = 0;
const ONE: u32 = 1;
const REST: u32 = 2;
/// That of a segment that was asked for, and ends with `#`.
const PREFIX: u32 = 3;
const FIRST_LITERAL: u32 = 4;
/// `+` and `#`, which are among the segments that have numbers.
const WILDCARDS: u32 = 2;

const VERBS: usize = Verb::ALL.len();

/// Compiled rules; see the module's head. Never changes.
#[derive(Default)]
pub(super) struct Index {
    /// The rules' names, by number.
    names: Vec<Arc<str>>,
    /// Numbers of segments.
    segments: FxHashMap<Box<str>, u32>,
    roles: FxHashMap<Box<str>, u32>,
    realms: FxHashMap<Box<str>, u32>,
    /// By role and realm.
    roots: FxHashMap<u64, u32>,
    /// By node and segment.
    edges: FxHashMap<u64, u32>,
    nodes: Vec<Node>,
    ends: Vec<Ends>,
}

/// A point of the trie: some segments read.
struct Node {
    one: u32,
    user: u32,
    client: u32,
    /// Rules whose filter ends here, and those whose filter ends here with `#`.
    end: u32,
    rest: u32,
    /// The literal edges once more, to be listed: the segment, and where it leads.
    literals: Vec<(Box<str>, u32)>,
    /// Rules whose filter ends with a prefix below here.
    prefixes: Prefixes,
}

impl Node {
    fn new() -> Node {
        Node {
            one: NONE,
            user: NONE,
            client: NONE,
            end: NONE,
            rest: NONE,
            literals: Vec::new(),
            prefixes: Prefixes::default(),
        }
    }
}

/// The lowest rule of each verb and effect, and the highest trust of those that allow.
#[derive(Clone, Copy)]
struct Ends {
    deny: [u32; VERBS],
    allow: [u32; VERBS],
    trust: [Trust; VERBS],
}

impl Ends {
    const NOTHING: Ends = Ends {
        deny: [NONE; VERBS],
        allow: [NONE; VERBS],
        trust: [None; VERBS],
    };
}

/// A trust level; none, which is less than any, where no rule sets one.
type Trust = Option<u8>;

/// How a rule's filter ends behind the node that it leads to.
#[derive(Clone, Copy)]
enum End<'a> {
    Here,
    Rest,
    Prefix(&'a str),
}

/// What a walk has found: the lowest rule that denies and the lowest that allows, and how much those that allow trust.
#[derive(Debug, Clone, Copy)]
struct Found {
    deny: u32,
    allow: u32,
    trust: Trust,
}

impl Found {
    fn allow(&mut self, (rule, trust): (u32, Trust)) {
        self.allow = self.allow.min(rule);
        self.trust = self.trust.max(trust);
    }
}

/// Who asks, as far as rules look at it.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) roles: &'a [String],
    pub(super) user: &'a str,
    /// None, or empty: the client has none, and `${client}` matches nothing.
    pub(super) client: Option<&'a str>,
    /// Whether they have shown nothing: rules for everybody with credentials allow them nothing, and deny them what they deny.
    pub(super) is_anonymous: bool,
}

/// What rules say, by a rule's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// With the trust level, if one of the rules that allow it sets one.
    Allowed(u32, Option<u8>),
    Denied(u32),
    Nothing,
}

/// A segment that was asked for.
#[derive(Clone, Copy)]
struct Segment<'a> {
    number: u32,
    /// Of [`PREFIX`]: without its `#`.
    text: &'a str,
}

type Segments<'a> = SmallVec<[Segment<'a>; 16]>;

/// Whether `text`, the segment at `at`, says `name`. Most names are spelled as they are, and nothing is allocated for them.
fn is_spelling(name: &str, at: usize, text: &str) -> bool {
    // A spelling is never shorter.
    text.len() >= name.len() && *spelled(name, at) == *text
}

/// `name` as the segment at `at`.
fn spelled(name: &str, at: usize) -> Cow<'_, str> {
    match at {
        0 => escape_first_segment(name),
        _ => escape_segment(name),
    }
}

impl Index {
    /// Compiles rules, which come with their names, in the names' order.
    ///
    /// A rule whose filter cannot be read can have been stored only by a mistake of ours. One that allows does nothing then;
    /// one that denies denies everything to its role in its realm.
    pub(super) fn new<'a>(rules: impl IntoIterator<Item = (&'a str, &'a Rule)>) -> Index {
        let mut index = Index::default();
        index.segments.insert("+".into(), ONE);
        index.segments.insert("#".into(), REST);
        for (name, rule) in rules {
            index.add(name, rule);
        }
        index
    }

    fn add(&mut self, name: &str, rule: &Rule) {
        let Ok(number) = u32::try_from(self.names.len()) else {
            return;
        };
        self.names.push(name.into());
        match Pattern::parse(&rule.filter) {
            Ok(pattern) => self.insert(rule, number, &pattern),
            Err(error) => {
                tracing::error!(rule = name, %error, "a rule's filter cannot be read: if it denies, it denies everything");
                if rule.effect == Effect::Deny {
                    // A filter has a segment at least: what ends at a root is this.
                    let root = self.root(rule);
                    let ends = self.ends_of(root, End::Here);
                    self.end(rule, number, ends);
                }
            }
        }
    }

    fn insert(&mut self, rule: &Rule, number: u32, pattern: &Pattern) {
        let mut node = self.root(rule);
        let mut end = End::Here;
        for part in pattern.parts() {
            match part {
                Part::Rest => end = End::Rest,
                Part::Prefix(text) => end = End::Prefix(text),
                other => node = self.step(node, other),
            }
        }
        let ends = self.ends_of(node, end);
        self.end(rule, number, ends);
    }

    fn root(&mut self, rule: &Rule) -> u32 {
        let role = numbered(&mut self.roles, &rule.role, 0);
        let realm = numbered(&mut self.realms, &rule.realm, 0);
        if let Some(root) = self.roots.get(&pair(role, realm)) {
            return *root;
        }
        let root = self.node();
        self.roots.insert(pair(role, realm), root);
        root
    }

    /// Notes the rule where its filter ends.
    fn end(&mut self, rule: &Rule, number: u32, ends: u32) {
        let Some(ends) = self.ends.get_mut(ends as usize) else {
            return;
        };
        let by_verb = match rule.effect {
            Effect::Allow => &mut ends.allow,
            Effect::Deny => &mut ends.deny,
        };
        for verb in &rule.verbs {
            if let Some(lowest) = by_verb.get_mut(place(*verb)) {
                *lowest = number.min(*lowest);
            }
            if rule.effect == Effect::Allow
                && let Some(trust) = ends.trust.get_mut(place(*verb))
            {
                *trust = rule.trustlevel.max(*trust);
            }
        }
    }

    fn node(&mut self) -> u32 {
        let number = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        self.nodes.push(Node::new());
        number
    }

    /// The node behind `part`, made if it is not there.
    fn step(&mut self, from: u32, part: Part<'_>) -> u32 {
        if let Part::Literal(text) = part {
            let segment = numbered(&mut self.segments, text, FIRST_LITERAL - WILDCARDS);
            if let Some(to) = self.edges.get(&pair(from, segment)) {
                return *to;
            }
            let to = self.node();
            self.edges.insert(pair(from, segment), to);
            if let Some(node) = self.nodes.get_mut(from as usize) {
                node.literals.push((text.into(), to));
            }
            return to;
        }
        let new = u32::try_from(self.nodes.len()).unwrap_or(NONE);
        let Some(node) = self.nodes.get_mut(from as usize) else {
            return from;
        };
        let edge = match part {
            Part::User => &mut node.user,
            Part::Client => &mut node.client,
            _ => &mut node.one,
        };
        if *edge == NONE {
            *edge = new;
            self.nodes.push(Node::new());
            return new;
        }
        *edge
    }

    fn ends_of(&mut self, node: u32, end: End<'_>) -> u32 {
        let new = u32::try_from(self.ends.len()).unwrap_or(NONE);
        let Some(node) = self.nodes.get_mut(node as usize) else {
            return NONE;
        };
        let ends = match end {
            End::Here => &mut node.end,
            End::Rest => &mut node.rest,
            End::Prefix(text) => node.prefixes.entry(text),
        };
        if *ends == NONE {
            *ends = new;
            self.ends.push(Ends::NOTHING);
        }
        *ends
    }

    /// The name of a rule.
    pub(super) fn name(&self, rule: u32) -> Option<&Arc<str>> {
        self.names.get(rule as usize)
    }

    /// What rules say to `verb` on an address, or on a filter: then all that it stands for must be allowed by one rule,
    /// and none of it denied.
    pub(super) fn ask(&self, asker: &Asker<'_>, verb: Verb, realm: &str, asked: &str) -> Said {
        let mut segments = Segments::new();
        let mut is_filter = false;
        for text in asked.split('/') {
            let number = self.segments.get(text).copied().unwrap_or(UNNAMED);
            is_filter |= number == ONE || number == REST;
            segments.push(Segment { number, text });
        }
        if let Some(Segment { number, text }) = segments.last_mut()
            && *number != REST
            && let Some(prefix) = text.strip_suffix('#')
        {
            (*number, *text) = (PREFIX, prefix);
            is_filter = true;
        }
        let walk = Walk {
            index: self,
            verb: place(verb),
            user: asker.user,
            client: asker.client.filter(|client| !client.is_empty()),
            special: is_special(asked),
        };
        let mut found = Found {
            deny: NONE,
            allow: NONE,
            trust: None,
        };
        let everywhere = self.realms.get(ANY);
        let here = self
            .realms
            .get(realm)
            .filter(|here| Some(*here) != everywhere);
        let roles = asker.roles.iter().map(|role| (role.as_str(), false));
        let roles = roles.chain([(ANY, asker.is_anonymous)]);
        for (role, denies_only) in roles {
            let Some(role) = self.roles.get(role) else {
                continue;
            };
            let allowed = (found.allow, found.trust);
            for realm in here.iter().chain(everywhere.iter()) {
                let Some(root) = self.roots.get(&pair(*role, **realm)) else {
                    continue;
                };
                walk.deny_everything(*root, &mut found);
                if is_filter {
                    walk.covering(*root, 0, &segments, &mut found);
                    walk.overlapping(*root, 0, &segments, &mut found);
                } else {
                    walk.address(*root, 0, &segments, &mut found);
                }
            }
            if denies_only {
                (found.allow, found.trust) = allowed;
            }
        }
        match found {
            Found {
                deny: NONE,
                allow: NONE,
                ..
            } => Said::Nothing,
            Found {
                deny: NONE,
                allow,
                trust,
            } => Said::Allowed(allow, trust),
            Found { deny, .. } => Said::Denied(deny),
        }
    }
}

/// The number of `name`, or the next one; the first is `offset`.
fn numbered(numbers: &mut FxHashMap<Box<str>, u32>, name: &str, offset: u32) -> u32 {
    if let Some(number) = numbers.get(name) {
        return *number;
    }
    let number = u32::try_from(numbers.len())
        .unwrap_or(NONE)
        .saturating_add(offset);
    numbers.insert(name.into(), number);
    number
}

/// Whether a first segment is of one of the spaces that a wildcard in front does not match.
fn is_special(text: &str) -> bool {
    text.starts_with(['$', '~'])
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn place(verb: Verb) -> usize {
    verb as usize
}

/// One question, on its way through the tries.
struct Walk<'a> {
    index: &'a Index,
    verb: usize,
    user: &'a str,
    client: Option<&'a str>,
    /// Whether what is asked for is in one of the spaces that a wildcard in front does not match.
    special: bool,
}

impl Walk<'_> {
    fn node(&self, node: u32) -> Option<&Node> {
        self.index.nodes.get(node as usize)
    }

    /// The lowest rule that denies, the lowest that allows, and the trust level.
    fn ends(&self, ends: u32) -> Option<(u32, (u32, Trust))> {
        let (ends, verb) = (self.index.ends.get(ends as usize)?, self.verb);
        let allow = (*ends.allow.get(verb)?, *ends.trust.get(verb)?);
        Some((*ends.deny.get(verb)?, allow))
    }

    fn both(&self, ends: u32, found: &mut Found) {
        if let Some((deny, allow)) = self.ends(ends) {
            found.deny = found.deny.min(deny);
            found.allow(allow);
        }
    }

    fn allow(&self, ends: u32, found: &mut Found) {
        if let Some((_, allow)) = self.ends(ends) {
            found.allow(allow);
        }
    }

    fn deny(&self, ends: u32, found: &mut Found) {
        if let Some((deny, _)) = self.ends(ends) {
            found.deny = found.deny.min(deny);
        }
    }

    /// A rule that denies and cannot be read: see [`Index::new`].
    fn deny_everything(&self, root: u32, found: &mut Found) {
        if let Some(Node { end, .. }) = self.node(root)
            && *end != NONE
        {
            self.deny(*end, found);
        }
    }

    /// Whether a wildcard of a rule may stand at `at`.
    fn wild_at(&self, at: usize) -> bool {
        at > 0 || !self.special
    }

    /// The nodes that one literal segment leads to.
    fn literal_steps(&self, node: &Node, from: u32, at: usize, segment: Segment<'_>) -> [u32; 4] {
        let mut steps = [NONE; 4];
        let [literal, one, user, client] = &mut steps;
        if segment.number >= FIRST_LITERAL {
            let to = self.index.edges.get(&pair(from, segment.number));
            *literal = to.copied().unwrap_or(NONE);
        }
        if self.wild_at(at) {
            *one = node.one;
        }
        if node.user != NONE && is_spelling(self.user, at, segment.text) {
            *user = node.user;
        }
        if node.client != NONE
            && let Some(id) = self.client
            && is_spelling(id, at, segment.text)
        {
            *client = node.client;
        }
        steps
    }

    /// Rules that match an address.
    fn address(&self, from: u32, at: usize, segments: &[Segment<'_>], found: &mut Found) {
        let Some(node) = self.node(from) else {
            return;
        };
        if node.rest != NONE && self.wild_at(at) {
            self.both(node.rest, found);
        }
        let Some(segment) = segments.get(at) else {
            return self.both(node.end, found);
        };
        for ends in node.prefixes.of(segment.text) {
            self.both(ends, found);
        }
        for to in self.literal_steps(node, from, at, *segment) {
            if to != NONE {
                self.address(to, at + 1, segments, found);
            }
        }
    }

    /// Rules that match every address that a filter stands for; only what they allow is of interest.
    fn covering(&self, from: u32, at: usize, segments: &[Segment<'_>], found: &mut Found) {
        let Some(node) = self.node(from) else {
            return;
        };
        if node.rest != NONE && self.wild_at(at) {
            self.allow(node.rest, found);
        }
        match segments.get(at) {
            None => self.allow(node.end, found),
            Some(Segment { number: ONE, .. }) => self.covering(node.one, at + 1, segments, found),
            // An address has a segment at least, so that `+/#` is all that `#` is.
            Some(Segment { number: REST, .. }) if at == 0 => {
                if let Some(next) = self.node(node.one) {
                    self.allow(next.rest, found);
                }
            }
            Some(Segment { number: REST, .. }) => {}
            Some(Segment {
                number: PREFIX,
                text,
            }) => {
                for ends in node.prefixes.of(text) {
                    self.allow(ends, found);
                }
                // It stands for what has a segment at least here, so that `+/#` is no less than `#`.
                if self.wild_at(at)
                    && let Some(next) = self.node(node.one)
                {
                    self.allow(next.rest, found);
                }
            }
            Some(segment) => {
                for ends in node.prefixes.of(segment.text) {
                    self.allow(ends, found);
                }
                for to in self.literal_steps(node, from, at, *segment) {
                    self.covering(to, at + 1, segments, found);
                }
            }
        }
    }

    /// Rules that match some address that a filter stands for; only what they deny is of interest.
    fn overlapping(&self, from: u32, at: usize, segments: &[Segment<'_>], found: &mut Found) {
        let Some(node) = self.node(from) else {
            return;
        };
        if node.rest != NONE && self.wild_at(at) {
            self.deny(node.rest, found);
        }
        match segments.get(at) {
            None => self.deny(node.end, found),
            Some(Segment { number: ONE, .. }) => {
                self.deny_prefixes(node, at, found);
                for to in self.any_steps(node, at) {
                    self.overlapping(to, at + 1, segments, found);
                }
            }
            Some(Segment {
                number: PREFIX,
                text,
            }) => {
                for ends in node.prefixes.meeting(text) {
                    self.deny(ends, found);
                }
                self.steps_below(node, at, text, |to| self.below(to, at + 1, found));
            }
            Some(Segment { number: REST, .. }) => {
                if at > 0 {
                    self.deny(node.end, found);
                }
                self.deny_prefixes(node, at, found);
                for to in self.any_steps(node, at) {
                    self.below(to, at + 1, found);
                }
            }
            Some(segment) => {
                for ends in node.prefixes.of(segment.text) {
                    self.deny(ends, found);
                }
                for to in self.literal_steps(node, from, at, *segment) {
                    self.overlapping(to, at + 1, segments, found);
                }
            }
        }
    }

    /// Everything below a node denies something of a `#`.
    fn below(&self, from: u32, at: usize, found: &mut Found) {
        let Some(node) = self.node(from) else {
            return;
        };
        self.deny(node.end, found);
        self.deny(node.rest, found);
        self.deny_prefixes(node, at, found);
        for to in self.any_steps(node, at) {
            self.below(to, at + 1, found);
        }
    }

    /// All prefixes at a node deny something of a wildcard; one in front asks for nothing in the special spaces.
    fn deny_prefixes(&self, node: &Node, at: usize, found: &mut Found) {
        for (text, ends) in node.prefixes.iter() {
            if at > 0 || !is_special(text) {
                self.deny(ends, found);
            }
        }
    }

    /// The nodes that segments which begin with `prefix` lead to.
    fn steps_below(&self, node: &Node, at: usize, prefix: &str, mut step: impl FnMut(u32)) {
        let literals = node.literals.iter();
        let literals = literals.filter(|(text, _)| text.starts_with(prefix));
        literals.for_each(|(_, to)| step(*to));
        if self.wild_at(at) {
            step(node.one);
        }
        if node.user != NONE && spelled(self.user, at).starts_with(prefix) {
            step(node.user);
        }
        if node.client != NONE
            && let Some(id) = self.client
            && spelled(id, at).starts_with(prefix)
        {
            step(node.client);
        }
    }

    /// The nodes that any one segment leads to; a wildcard in front asks for nothing in the special spaces.
    fn any_steps<'n>(&self, node: &'n Node, at: usize) -> impl Iterator<Item = u32> + 'n {
        let client = self.client.map_or(NONE, |_| node.client);
        let literals = node.literals.iter();
        literals
            .filter(move |(text, _)| at > 0 || !is_special(text))
            .map(|(_, to)| *to)
            .chain([node.one, node.user, client])
            .filter(|to| *to != NONE)
    }
}

#[cfg(test)]
mod tests;
