//! Why a Home Assistant does not restore.

use http::StatusCode;

use crate::error::{find, innermost};

/// A failure of one Home Assistant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The address is none.
    #[error("This is no URL of a Home Assistant: {0}.")]
    InvalidUrl(String),
    /// The file has no usable certificate.
    #[error("The file of --ca-certificate cannot be used: {0}.")]
    InvalidCertificate(String),
    /// No connection.
    #[error("Home Assistant at {url} does not answer: {why}.")]
    NoAnswer {
        /// Its URL.
        url: String,
        /// The system's words.
        why: String,
    },
    /// Its certificate is not trusted.
    #[error("The certificate of {url} is not trusted: {why}.")]
    Certificate {
        /// Its URL.
        url: String,
        /// The words of the TLS library.
        why: String,
    },
    /// Something else answers.
    #[error("{url} does not answer as Home Assistant does ({status}).")]
    NotHomeAssistant {
        /// Its URL.
        url: String,
        /// Status of the answer.
        status: StatusCode,
    },
    /// It leads to another server.
    #[error("{url} leads to {to}.")]
    Elsewhere {
        /// Its URL.
        url: String,
        /// The other server's URL, without a path.
        to: String,
    },
    /// It is set up already.
    #[error("Home Assistant at {0} is set up already: it takes a backup only on its first page.")]
    Onboarded(String),
    /// The backup has only apps or folders.
    #[error(
        "The backup {0} does not contain Home Assistant itself, so it cannot set up a new system."
    )]
    WithoutHomeAssistant(String),
    /// The backup is of a later version.
    #[error(
        "The backup is of Home Assistant {needed}, and the new one has {has}: it restores only backups of its own or of \
         an earlier version."
    )]
    TooOld {
        /// Its version.
        has: String,
        /// Version of the backup.
        needed: String,
    },
    /// Its backup manager does something else.
    #[error("Home Assistant is busy with another backup or restore.")]
    Busy,
    /// The connection ended within the upload.
    #[error("The connection to Home Assistant ended within the upload: {0}. Nothing was restored.")]
    Cut(String),
    /// It took no more bytes, or did not answer.
    #[error("Home Assistant took no more of the backup for {0} minutes. Nothing was restored.")]
    Silent(u64),
    /// The encryption key is another one.
    #[error("The encryption key does not open this backup. Nothing was restored.")]
    WrongKey,
    /// It refuses the backup or the restore.
    #[error("Home Assistant refuses: {0}")]
    Refused(String),
    /// It restarted, and says that the restore failed.
    #[error("The restore failed. Home Assistant says: {0}")]
    RestoreFailed(String),
    /// It still shows its first page.
    #[error("Home Assistant did not start the restore: it shows its first page again.")]
    NotStarted,
    /// It did not come back.
    #[error("Home Assistant at {url} has not come back for {minutes} minutes.")]
    NotBack {
        /// Its URL.
        url: String,
        /// How long it was awaited.
        minutes: u64,
    },
}

impl Failure {
    pub(super) fn of(url: &str, error: &reqwest::Error) -> Self {
        let url = url.to_owned();
        if error.is_timeout() {
            let why = "no answer in time".to_owned();
            return Self::NoAnswer { url, why };
        }
        match find::<rustls::Error>(error) {
            Some(error @ rustls::Error::InvalidCertificate(_)) => {
                let why = error.to_string();
                Self::Certificate { url, why }
            }
            _ => Self::NoAnswer {
                url,
                why: innermost(error),
            },
        }
    }

    /// Its code in JSON.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InvalidUrl(_) => "invalid_url",
            Self::InvalidCertificate(_) => "invalid_certificate",
            Self::NoAnswer { .. } => "home_assistant_unreachable",
            Self::Certificate { .. } => "home_assistant_certificate",
            Self::NotHomeAssistant { .. } => "not_home_assistant",
            Self::Elsewhere { .. } => "home_assistant_elsewhere",
            Self::Onboarded(_) => "home_assistant_onboarded",
            Self::WithoutHomeAssistant(_) => "without_home_assistant",
            Self::TooOld { .. } => "home_assistant_too_old",
            Self::Busy => "home_assistant_busy",
            Self::Cut(_) => "upload_cut",
            Self::Silent(_) => "upload_silent",
            Self::WrongKey => "wrong_key",
            Self::Refused(_) => "home_assistant_refused",
            Self::RestoreFailed(_) => "restore_failed",
            Self::NotStarted => "restore_not_started",
            Self::NotBack { .. } => "home_assistant_not_back",
        }
    }

    /// Whether the command line is to be corrected.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::InvalidUrl(_) | Self::InvalidCertificate(_))
    }

    /// Advice for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::InvalidUrl(_) => "Name it as in the browser, such as http://192.168.1.50:8123.",
            Self::InvalidCertificate(_) => "Name a PEM file with the certificate of its authority.",
            Self::NoAnswer { .. } => {
                "Check the URL: the port is 8123 unless you changed it. If the name ends in .local, use the IP address instead."
            }
            Self::Certificate { .. } => {
                "If your own authority signed it, name that with --ca-certificate. Or use http:// within your home."
            }
            Self::NotHomeAssistant { .. } => {
                "A new Home Assistant prepares itself for up to 20 minutes. Wait until the browser shows Welcome!, then run this again."
            }
            Self::Elsewhere { .. } => {
                "If that is your Home Assistant, name its URL with --to: with https:// and its port, if it needs them."
            }
            Self::WithoutHomeAssistant(_) => {
                "Name another backup. Once the new system is set up, it can restore apps and folders of this one."
            }
            Self::Onboarded(_) => {
                "Install Home Assistant anew, or restore in it: add the bucket there, and choose Restore in Settings > System > Backups."
            }
            Self::TooOld { .. } => {
                "Update the new Home Assistant first, or restore an earlier backup."
            }
            Self::Busy => "Wait until it has ended, then run this again.",
            Self::Cut(_) | Self::Silent(_) => {
                "Check that it has room for the backup, and its log. Then run this again."
            }
            Self::WrongKey => {
                "Use the key of the emergency kit from the time of this backup, or restore another backup."
            }
            Self::Refused(_) | Self::RestoreFailed(_) | Self::NotStarted => {
                "Its log has more. Run this again, or restore another backup."
            }
            Self::NotBack { .. } => {
                "The restored configuration may use another port, or HTTPS: open it in the browser. If it is not there either, look into its log."
            }
        }
    }
}
