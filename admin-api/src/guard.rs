//! Who may ask: what a request shows against what its route needs.
//!
//! Everything is refused that is not allowed here. Somebody without credentials costs nothing: the broker is only asked about
//! those that are shown. A header counts before a certificate: who shows both wants to be the former. The header is taken
//! out of the request, so that nothing behind the guard can log it.
//!
//! A certificate is shown by a browser by itself, whatever page makes it ask, and so is a password that its user has typed once: so
//! whoever is let in by those must not come from a page (`Origin`, RFC 6454; `Sec-Fetch-Site`, Fetch Metadata). A bearer's token no
//! browser keeps, and no page can make up. Nor is a password asked for where a page would make the browser ask.
//!
//! Always, each with a test of its name below:
//! - `metrics_are_open_to_the_machine_itself_alone_and_only_if_wanted`.
//! - `a_page_cannot_use_its_visitors_certificate`.
//! - `only_a_bearer_may_come_from_a_page`, and `a_password_is_asked_of_nobodys_page`.
//! - `a_page_cannot_use_what_its_visitors_browser_remembers` in `tests/http`.

use std::net::IpAddr;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, ORIGIN};

use crate::control::{Admin, Control, Peer};
use crate::document::Grant;
use crate::problem::Problem;
use crate::routes::Need;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Who sends a request from `peer`; its credentials are gone from `headers` after that. None: nobody, and `need` does not
/// ask who it is.
///
/// # Errors
/// It has no credentials that are right: 401, 429 or 503; or a page has sent it, with what its visitor's browser keeps: 403.
pub(crate) async fn admit(
    control: &dyn Control,
    need: Need,
    headers: &mut HeaderMap,
    peer: &Peer,
    metrics_open: bool,
) -> Result<Option<Admin>, Problem> {
    let may_be_prompted = may_be_prompted(headers);
    let admitted = let_in(control, need, headers, peer, metrics_open).await;
    admitted.map_err(|problem| match may_be_prompted {
        true => problem,
        false => problem.without_prompt(),
    })
}

async fn let_in(
    control: &dyn Control,
    need: Need,
    headers: &mut HeaderMap,
    peer: &Peer,
    metrics_open: bool,
) -> Result<Option<Admin>, Problem> {
    let shown = take_credentials(headers);
    if is_open(need, peer.ip(), metrics_open) {
        return Ok(None);
    }
    let shown = shown?;
    if shown.is_none() && peer.certificate.is_none() {
        return Err(Problem::unauthenticated(
            "this needs an Authorization header or a client certificate",
        ));
    }
    if !shown.as_ref().is_some_and(is_bearer) && is_of_a_page(headers) {
        return Err(Problem::forbidden("a page without a bearer's token"));
    }
    let shown = shown.as_ref().map(HeaderValue::as_bytes);
    match control.authenticate(shown, peer).await {
        Ok(admin) => Ok(Some(admin)),
        Err(error) => {
            let tried = shown.and_then(|shown| control.tried(shown));
            Err(Problem::from(error).with_tried(tried))
        }
    }
}

/// Whether whoever was let in has what is needed.
///
/// # Errors
/// They have not: 403, and no word on why.
pub(crate) fn check(need: Need, admin: &Admin) -> Result<(), Problem> {
    let grant = match need {
        Need::Nothing | Need::Credentials | Need::Address => return Ok(()),
        Need::Metrics => Grant::Monitor,
        Need::Grant(grant) => grant,
    };
    if admin.may(grant) {
        Ok(())
    } else {
        Err(Problem::forbidden(grant.as_str()))
    }
}

/// Whether a page in a browser may have sent it to change something, or one from elsewhere, and not the person at the
/// browser.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let sites = headers.get_all(FETCH_SITE).iter();
    let mut others = sites.filter(|site| !matches!(site.as_bytes(), b"none" | b"same-origin"));
    headers.contains_key(ORIGIN) || others.next().is_some()
}

/// Whether a browser that is told of `Basic` would ask the person who went there by themselves, and not on a page's behalf. What is no
/// browser may be told of everything.
fn may_be_prompted(headers: &HeaderMap) -> bool {
    let mut modes = headers.get_all(FETCH_MODE).iter();
    modes.all(|mode| mode.as_bytes() == b"navigate") && !is_of_a_page(headers)
}

/// Whether it is no credential that browsers keep and show by themselves (RFC 6750; a scheme's case means nothing, RFC 9110 §11.1).
fn is_bearer(shown: &HeaderValue) -> bool {
    let scheme = shown.as_bytes().split(|byte| *byte == b' ').next();
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
}

fn is_open(need: Need, peer: IpAddr, metrics_open: bool) -> bool {
    match need {
        Need::Nothing => true,
        Need::Metrics => metrics_open && peer.to_canonical().is_loopback(),
        Need::Credentials | Need::Address | Need::Grant(_) => false,
    }
}

/// Two headers are as bad as none: a proxy may have looked at the other one.
fn take_credentials(headers: &mut HeaderMap) -> Result<Option<HeaderValue>, Problem> {
    let n_shown = headers.get_all(AUTHORIZATION).iter().count();
    let shown = headers.remove(AUTHORIZATION);
    if n_shown > 1 {
        return Err(Problem::unauthenticated(
            "more than one Authorization header",
        ));
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_cannot_use_its_visitors_certificate() {
        for (name, value, refused) in [
            ("accept", "*/*", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "CROSS-SITE", true),
            ("origin", "https://evil.example", true),
            ("origin", "null", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(is_of_a_page(&headers), refused, "{name}: {value}");
        }
        let mut twice = HeaderMap::new();
        twice.append(FETCH_SITE, HeaderValue::from_static("none"));
        twice.append(FETCH_SITE, HeaderValue::from_static("cross-site"));
        assert!(is_of_a_page(&twice));
    }

    #[test]
    fn only_a_bearer_may_come_from_a_page() {
        for (shown, is) in [
            ("Bearer x", true),
            ("bEARER x", true),
            ("Basic Bearer", false),
            ("BearerX x", false),
            (" Bearer x", false),
            ("", false),
        ] {
            assert_eq!(is_bearer(&HeaderValue::from_static(shown)), is, "{shown}");
        }
    }

    #[test]
    fn a_password_is_asked_of_nobodys_page() {
        for (mode, site, prompted) in [
            ("navigate", "none", true),
            ("navigate", "same-origin", true),
            ("navigate", "cross-site", false),
            ("cors", "same-origin", false),
            ("no-cors", "none", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(FETCH_MODE, HeaderValue::from_static(mode));
            headers.insert(FETCH_SITE, HeaderValue::from_static(site));
            assert_eq!(may_be_prompted(&headers), prompted, "{mode} {site}");
        }
        assert!(may_be_prompted(&HeaderMap::new()), "what is no browser");
    }

    #[test]
    fn metrics_are_open_to_the_machine_itself_alone_and_only_if_wanted() {
        for (peer, open, passes) in [
            ("127.0.0.1", true, true),
            ("127.8.8.8", true, true),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("127.0.0.1", false, false),
            ("10.0.0.1", true, false),
            ("::ffff:10.0.0.1", true, false),
            ("2001:db8::1", true, false),
        ] {
            for (need, passes) in [
                (Need::Metrics, passes),
                (Need::Nothing, true),
                (Need::Grant(Grant::Read), false),
                (Need::Address, false),
                (Need::Credentials, false),
            ] {
                let is_open = is_open(need, peer.parse().unwrap(), open);
                assert_eq!(is_open, passes, "{need:?} {peer} {open}");
            }
        }
    }
}
