/** What stands on the shop's tables: indexes, keys, functions, triggers, views, policies, privileges. */
export const shopLogic = String.raw`
SET search_path = shop;
CREATE INDEX customer_mail_idx ON customer (mail);
CREATE INDEX customer_name_trgm_idx ON customer USING gin (full_name gin_trgm_ops);
CREATE INDEX customer_country_idx ON customer (country) INCLUDE (loyalty_points) WHERE marketing;
CREATE INDEX address_customer_idx ON address (customer_id);
CREATE INDEX address_location_idx ON address USING gist (location);
CREATE INDEX address_post_code_idx ON address USING spgist (post_code);
CREATE INDEX product_search_idx ON product USING gin (search);
CREATE INDEX product_attributes_idx ON product USING gin (attributes jsonb_path_ops);
CREATE INDEX product_tags_idx ON product USING gin (tags);
CREATE INDEX product_name_idx ON product (lower(name) text_pattern_ops);
CREATE INDEX product_price_idx ON product (price DESC NULLS LAST, id);
CREATE INDEX price_history_during_idx ON price_history USING gist (during);
CREATE INDEX price_history_product_idx ON price_history (product_id, lower(during));
CREATE INDEX orders_customer_idx ON orders (customer_id, placed_at DESC);
CREATE INDEX orders_open_idx ON orders (state) WHERE state NOT IN ('delivered', 'cancelled');
CREATE INDEX order_item_product_idx ON order_item (product_id);
CREATE INDEX payment_order_idx ON payment (order_id);
CREATE INDEX payment_kind_idx ON payment USING hash (kind);
CREATE INDEX review_product_idx ON review (product_id, stars);
CREATE INDEX visit_at_idx ON visit USING brin (at) WITH (pages_per_range = 16);
CREATE UNIQUE INDEX shipment_tracking_key ON shipment (tracking);
ALTER TABLE order_item ADD CONSTRAINT order_item_order_fkey FOREIGN KEY (order_id, placed_at) REFERENCES orders ON DELETE CASCADE;
ALTER TABLE payment ADD CONSTRAINT payment_order_fkey FOREIGN KEY (order_id, placed_at) REFERENCES orders DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE shipment ADD CONSTRAINT shipment_order_fkey FOREIGN KEY (order_id, placed_at) REFERENCES orders NOT VALID;
ALTER TABLE rental_slot ADD CONSTRAINT rental_slot_times CHECK (NOT isempty(during));
ALTER TABLE customer ADD CONSTRAINT customer_age CHECK (born < date '2020-01-01') NOT VALID;
CREATE STATISTICS orders_state_channel (dependencies, mcv) ON state, channel FROM orders;

CREATE FUNCTION customer_value(who bigint) RETURNS numeric LANGUAGE sql STABLE
  BEGIN ATOMIC SELECT coalesce(sum(o.total), 0) FROM shop.orders o WHERE o.customer_id = who AND o.state <> 'cancelled'; END;
CREATE FUNCTION order_number(id bigint, placed_at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT to_char(placed_at AT TIME ZONE 'UTC', 'YYYYMM') || '-' || id $$;
CREATE FUNCTION note_price() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = shop, pg_temp AS $$
BEGIN
  IF NEW.price IS DISTINCT FROM OLD.price THEN
    INSERT INTO audit (what, before, after) VALUES ('price', to_jsonb(OLD.price), to_jsonb(NEW.price));
  END IF;
  RETURN NEW;
END $$;
CREATE FUNCTION index_product() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.search := to_tsvector('simple', NEW.name);
  RETURN NEW;
END $$;
CREATE PROCEDURE close_month(month date) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE shop.orders SET state = 'delivered' WHERE state = 'shipped' AND placed_at < month;
  COMMIT;
END $$;
CREATE FUNCTION longer(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT CASE WHEN length($2) > coalesce(length($1), -1) THEN $2 ELSE $1 END $$;
CREATE AGGREGATE longest(text) (SFUNC = longer, STYPE = text);
CREATE TRIGGER product_price AFTER UPDATE OF price ON product FOR EACH ROW EXECUTE FUNCTION note_price();
CREATE TRIGGER product_search BEFORE INSERT OR UPDATE OF name ON product FOR EACH ROW EXECUTE FUNCTION index_product();

CREATE VIEW report.open_order AS SELECT o.id, order_number(o.id, o.placed_at) AS number, o.placed_at, c.full_name, o.total FROM orders o JOIN customer c ON c.id = o.customer_id WHERE o.state IN ('placed', 'paid', 'packed');
CREATE VIEW report.active_product WITH (security_barrier) AS SELECT id, sku, name, price, active FROM product WHERE active WITH CASCADED CHECK OPTION;
CREATE MATERIALIZED VIEW report.monthly_sales AS SELECT date_trunc('month', placed_at AT TIME ZONE 'UTC')::date AS month, channel, count(*) AS orders, sum(total) AS total FROM orders WHERE state <> 'cancelled' GROUP BY 1, 2;
CREATE UNIQUE INDEX monthly_sales_key ON report.monthly_sales (month, channel);
CREATE MATERIALIZED VIEW report.best_year AS SELECT extract(year FROM month) AS year, sum(total) AS total FROM report.monthly_sales GROUP BY 1;
CREATE RULE visit_is_kept AS ON DELETE TO visit DO INSTEAD NOTHING;
ALTER TABLE customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY customer_of_country ON customer FOR SELECT TO shop_report USING (country IN ('DE', 'FR'));

COMMENT ON TABLE orders IS 'One row an order, a partition a month';
COMMENT ON COLUMN product.margin IS 'Price less cost; it''s computed';
GRANT USAGE ON SCHEMA shop, report TO shop_app, shop_report;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA shop TO shop_app;
GRANT SELECT ON ALL TABLES IN SCHEMA report TO shop_report;
GRANT SELECT (id, full_name, country) ON customer TO shop_report;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA shop TO shop_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO shop_app;
REVOKE EXECUTE ON FUNCTION customer_value(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION customer_value(bigint) TO shop_app;
CREATE PUBLICATION shop_products FOR TABLE product, stock;
SELECT setval('shop.invoice_number', 202500000);
ANALYZE;
`;
