//! Links `src/hosts.c` into a static binary.

use std::env::{self, VarError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut said = vec!["rerun-if-changed=src/hosts.c".to_owned()];
    let features = match env::var("CARGO_CFG_TARGET_FEATURE") {
        Err(VarError::NotPresent) => String::new(),
        features => features?,
    };
    let is_glibc = env::var("CARGO_CFG_TARGET_ENV")? == "gnu";
    if is_glibc && features.split(',').any(|feature| feature == "crt-static") {
        // An object, not a library: nothing calls it, so a linker would leave it out of one.
        let objects = cc::Build::new()
            .file("src/hosts.c")
            .try_compile_intermediates()?;
        said.extend(
            objects
                .iter()
                .map(|object| format!("rustc-link-arg-bins={}", object.display())),
        );
    }
    for line in said {
        println!("cargo::{line}");
    }
    Ok(())
}
