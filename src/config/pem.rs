//! Certificates that people paste.

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A PEM with its line ends put back: a field of one line, as an app's options have them, drops them or makes spaces of
/// them. What is no PEM stays as it is, and is refused by whoever reads it.
pub(super) fn with_lines(text: &str) -> String {
    let blocks = text
        .split(BEGIN)
        .skip(1)
        .map(block)
        .collect::<Option<String>>();
    blocks
        .filter(|blocks| !blocks.is_empty())
        .unwrap_or_else(|| text.to_owned())
}

/// What follows `-----BEGIN `, up to the end of the block; anything behind that is somebody's comment.
fn block(text: &str) -> Option<String> {
    let (label, rest) = text.split_once(DASHES)?;
    let (body, _) = rest.split_once(&format!("{END}{label}{DASHES}"))?;
    let body: String = body.split_whitespace().collect();
    Some(format!(
        "{BEGIN}{label}{DASHES}\n{body}\n{END}{label}{DASHES}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_on_one_line_is_one() {
        let key = rcgen::generate_simple_self_signed(["storage.example.com".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["other.example.com".to_owned()]).unwrap();
        let pem = format!("{}# the other one\n{}", key.cert.pem(), other.cert.pem());
        for text in [
            pem.clone(),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            pem.replace('\n', "\r\n"),
        ] {
            let read = reqwest::Certificate::from_pem_bundle(with_lines(&text).as_bytes()).unwrap();
            assert_eq!(read.len(), 2, "{text}");
        }
    }

    #[test]
    fn what_is_no_certificate_stays_as_it_is() {
        for text in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----",
            "-----BEGIN A----- x -----END B-----",
        ] {
            assert_eq!(with_lines(text), text);
        }
    }
}
