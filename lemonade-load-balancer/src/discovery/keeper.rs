//! Changes by hand that are kept in the database that the backends come from.

use super::sql::{SqlError, Store};
use crate::control::{Keep, Order};
use crate::snapshot::Published;
use std::pin::Pin;

/// Writes to the database of the present configuration.
#[derive(Debug)]
pub(crate) struct Keeper(Published);

impl Keeper {
    pub(crate) fn new(published: Published) -> Self {
        Keeper(published)
    }

    async fn write(&self, order: &Order) -> Result<(), String> {
        let Some(config) = self.0.load().config.discovery.sql.clone() else {
            return Err("`discovery.sql` is not configured".to_owned());
        };
        let store = Store::new(config);
        let written = match order {
            // No column of the table is for it; the operator asks for it elsewhere.
            Order::Strategy(_) => return Err("a strategy is not kept in the database".to_owned()),
            Order::Add {
                address,
                name,
                weight,
                ..
            } => {
                store
                    .put(&address.to_string(), name.as_deref(), *weight)
                    .await
            }
            Order::Remove(id) => store.remove(&id.to_string()).await,
            Order::Drain(id) => store.set_enabled(&id.to_string(), false).await,
            Order::Enable(id) => store.set_enabled(&id.to_string(), true).await,
            Order::Weight(id, weight) => store.set_weight(&id.to_string(), *weight).await,
        };
        written.map_err(|error: SqlError| error.to_string())
    }
}

impl Keep for Keeper {
    fn keep<'k>(
        &'k self,
        order: &'k Order,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'k>> {
        Box::pin(self.write(order))
    }
}
