//! Pasted certificates.

pub(super) const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Restores the line breaks of a PEM: a one-line field, as in an app's options, drops them or turns them into spaces.
/// Returns any other text unchanged; parsing refuses it later.
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

/// The block that follows `-----BEGIN `. Text behind its end is a comment.
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
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn pem_on_one_line_is_parsed() {
        let key = rcgen::generate_simple_self_signed(["storage.example.com".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["other.example.com".to_owned()]).unwrap();
        let pem = format!("{}# the other one\n{}", key.cert.pem(), other.cert.pem());
        for text in [
            pem.clone(),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            pem.replace('\n', "\r\n"),
        ] {
            let pem = with_lines(&text);
            let certificates: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
            assert_eq!(certificates.unwrap().len(), 2, "{text}");
        }
    }

    #[test]
    fn other_text_is_unchanged() {
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
