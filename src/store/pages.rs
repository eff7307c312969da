//! The one pager: follows a listing from page to page, within bounds that no honest server reaches.

use std::future::Future;

use chrono::{DateTime, Utc};

use super::error::Error;

/// Query parameters that ask for the page after this one.
pub(super) type Cursor = Vec<(&'static str, String)>;

/// One page of a listing.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Absent on the last page.
    pub(super) next: Option<Cursor>,
    /// Memory that the items take, in bytes.
    pub(super) weight: usize,
    /// The server's clock.
    pub(super) date: Option<DateTime<Utc>>,
}

impl<T> Page<T> {
    /// Builds a page of items with `text` bytes beside their own size.
    pub(super) fn of(items: Vec<T>, next: Option<Cursor>, text: impl Fn(&T) -> usize) -> Self {
        let weight = items.iter().map(|item| size_of::<T>() + text(item)).sum();
        Self {
            items,
            next,
            weight,
            date: None,
        }
    }
}

/// Bounds of a listing.
pub(super) struct Bounds {
    /// Name of the list in messages.
    pub(super) what: &'static str,
    pub(super) pages: usize,
    pub(super) items: usize,
    /// Memory of all items, in bytes.
    pub(super) weight: usize,
}

/// Fetches all pages. Returns the items and the server's clock on the last page.
///
/// # Errors
/// What a page fails with, and a refusal when the listing has no end.
pub(super) async fn all<T, F>(
    bounds: &Bounds,
    action: &str,
    mut fetch: impl FnMut(Option<Cursor>) -> F,
) -> Result<(Vec<T>, Option<DateTime<Utc>>), Error>
where
    F: Future<Output = Result<Page<T>, Error>>,
{
    let what = bounds.what;
    let (mut items, mut room) = (Vec::new(), bounds.weight);
    let mut after: Option<Cursor> = None;
    for _ in 0..bounds.pages {
        let page = fetch(after.clone()).await?;
        items.extend(page.items);
        let is_too_long = items.len() > bounds.items;
        room = room
            .checked_sub(page.weight)
            .filter(|_| !is_too_long)
            .ok_or_else(|| Error::refused(action, format!("the {what} is too long")))?;
        match page.next {
            None => return Ok((items, page.date)),
            next if next == after => break,
            next => after = next,
        }
    }
    Err(Error::refused(action, format!("the {what} has no end")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        what: "listing",
        pages: 3,
        items: 10,
        weight: 100,
    };

    /// Fetches pages of four items and 20 bytes each; `next` names the page after page `number`.
    async fn fetched(next: impl Fn(usize) -> Option<usize>) -> Result<Vec<usize>, String> {
        let fetched = all(&BOUNDS, "list it", |after| {
            let number = after.map_or(0, |cursor| cursor[0].1.parse().unwrap());
            let next = next(number).map(|next: usize| vec![("page", next.to_string())]);
            async move {
                Ok(Page {
                    items: vec![number; 4],
                    next,
                    weight: 20,
                    date: None,
                })
            }
        });
        fetched
            .await
            .map(|(items, _)| items)
            .map_err(|error| error.message)
    }

    #[tokio::test]
    async fn listing_ends_with_its_last_page_or_at_a_bound() {
        let whole = fetched(|number| (number < 1).then_some(number + 1)).await;
        assert_eq!(whole.unwrap(), [0, 0, 0, 0, 1, 1, 1, 1]);
        let refused = |why: &str| Err(format!("Could not list it: the listing {why}"));
        assert_eq!(
            fetched(|number| Some(number + 1)).await,
            refused("is too long")
        );
        assert_eq!(fetched(|_| Some(1)).await, refused("has no end"));
    }
}
