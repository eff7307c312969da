//! Pages of lists, whose keys are read as this server means them.

use tracing::info;

use super::client::{Client, read};
use super::request::Request;
use super::xml::List;
use crate::store::backend::Backend;
use crate::store::error::{Error, Outcome};
use crate::store::pages::Page;
use crate::store::retry::Call;

/// Keys of a page that are looked for to learn how keys are read.
const MAX_DOUBTFUL: usize = 3;

impl Client {
    /// Makes one attempt and reads a page of a list, of at most `max` bytes.
    pub(super) async fn page<L: List>(
        &self,
        call: &Call,
        request: Request,
        max: usize,
    ) -> Result<Page<L::Item>, Error> {
        let reply = self.send(call, request).await?;
        let date = reply.time("date");
        let text = read(call, reply, max).await?;
        let list = L::parse(&text).map_err(|why| self.not_s3(call, &why))?;
        self.learn_to_read(&list.encoded_keys()).await;
        let readings = self.readings.lock().clone();
        let page = list.into_page(&readings, text.len());
        let page = page.map_err(|why| self.not_s3(call, &why))?;
        Ok(Page { date, ..page })
    }

    /// Finds out which readings of listed keys exist, unless all that are left agree.
    async fn learn_to_read(&self, listed: &[&str]) {
        let open = |shown: &&&str| {
            let may_be_encoded = shown.contains(['+', '%']);
            may_be_encoded && self.readings.lock().keys(shown).len() > 1
        };
        for shown in listed.iter().filter(open).take(MAX_DOUBTFUL) {
            let keys = self.readings.lock().keys(shown);
            for key in keys {
                let action = format!("look for \"{key}\"");
                match self.head(&Call::new(&action), &key, false).await {
                    Ok(_) if self.readings.lock().keep(shown, &key) => {
                        info!(
                            "the server lists \"{key}\" as \"{shown}\"; other keys are read alike"
                        );
                        break;
                    }
                    Err(error) if error.outcome == Outcome::NotFound => {}
                    // After another error, whether it exists stays open.
                    Ok(_) | Err(_) => break,
                }
            }
        }
    }
}
