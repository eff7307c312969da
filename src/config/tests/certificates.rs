//! Contents of `ca_certificate`, and the messages about wrong ones.

use super::*;

fn said(certificate: &str) -> String {
    let toml = format!("{GARAGE}ca_certificate = '''{certificate}'''\n");
    let loaded = load(&toml, &[("GARAGE_SECRET", "x")]);
    loaded.map_or_else(|problems| problems.to_string(), |_| "accepted".to_owned())
}

#[test]
fn content_without_a_usable_certificate_is_named() {
    let made = rcgen::generate_simple_self_signed(["nas.local".to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nas.cer");
    fs::write(&file, made.cert.der()).unwrap();
    let in_latin_1 = folder.path().join("nas.pem");
    let commented = [b"# f\xfcr das NAS\n", pem.as_bytes()].concat();
    fs::write(&in_latin_1, commented).unwrap();
    let lines: Vec<_> = pem.lines().collect();
    let no_end = lines[..lines.len() / 2].join("\n");
    let cut_off = format!("{no_end}\n-----END CERTIFICATE-----");
    for (certificate, expected) in [
        (pem.as_str(), "accepted"),
        (in_latin_1.to_str().unwrap(), "accepted"),
        (&key, "holds a private key"),
        (
            &pem.replace("CERTIFICATE", "PKCS7"),
            "begins with -----BEGIN CERTIFICATE",
        ),
        (&cut_off, "damaged or cut off"),
        (&no_end, "damaged or cut off"),
        (
            file.to_str().unwrap(),
            "convert it with `openssl x509 -inform der",
        ),
    ] {
        let said = said(certificate);
        assert!(said.contains(expected), "{expected}\n--- in ---\n{said}");
        assert!(!said.contains(key.lines().nth(1).unwrap()), "{said}");
    }
}
