//! Which texts say what is logged.
//!
//! `EnvFilter` takes a bare word that is no level for a part of the program, of which everything is then logged, and nothing
//! of the rest: a typing error would silence the broker. Here a word is a level, and a part has its level with it.

/// The levels, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Whether each of the directives between commas is a level or ends with `=level`. What else there is to be wrong, the
/// filter's own parser knows.
pub(super) fn names_levels(text: &str) -> bool {
    directives(text).all(|directive| {
        let level = directive.rsplit_once('=').map_or(directive, |(_, it)| it);
        LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))
    })
}

/// The parts between commas; one inside of brackets or braces is a span's or a field's.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '[' | '{' => depth = depth.saturating_add(1),
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_is_a_level_or_nothing() {
        for good in [
            "off",
            "error",
            "warn",
            "info",
            "debug",
            "trace",
            "INFO",
            "info,restante::broker=debug",
            "warn, restante=off",
            "restante[span{a=1,b=2}]=trace,info",
        ] {
            assert!(names_levels(good), "{good}");
        }
        for bad in [
            "",
            "  ",
            ",",
            "info,",
            "verbose",
            "inf",
            "info,verbose",
            "restante",
            "restante=",
            "restante=loud",
            "info debug",
            "restante[span]",
            "restante[span{a=info}",
        ] {
            assert!(!names_levels(bad), "{bad}");
        }
    }
}
