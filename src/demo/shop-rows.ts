/** One step of filling the shop; `label` is what a person reads while it runs. */
export interface ShopStep {
  readonly label: string;
  readonly sql: string;
}

/** The same numbers on every machine: a hash of row and column stands for chance. */
const noise = String.raw`
SET search_path = shop;
CREATE FUNCTION noise(seed bigint, salt integer, below integer) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT ((hashint8extended(seed, salt) & 2147483647) % below)::integer $$;
CREATE FUNCTION pick(words text[], seed bigint, salt integer) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
  AS $$ SELECT words[1 + ((hashint8extended(seed, salt) & 2147483647) % cardinality(words))::integer] $$;
COMMENT ON FUNCTION noise IS 'A number from 0 to below - 1 that looks like chance and is always the same';
`;

const people = String.raw`
SET search_path = shop;
INSERT INTO country (code, name, vat_rate, time_zone_offset, centre, region)
SELECT code, name, vat, make_interval(hours => zone), point(x, y), box(point(x - 3, y - 3), point(x + 3, y + 3))
FROM (VALUES ('DE', 'Germany', 0.19, 1, 10.4, 51.1), ('FR', 'France', 0.2, 1, 2.2, 46.2), ('AT', 'Austria', 0.2, 1, 14.5, 47.5), ('NL', 'Netherlands', 0.21, 1, 5.3, 52.1),
  ('PL', 'Poland', 0.23, 1, 19.1, 51.9), ('ES', 'Spain', 0.21, 1, -3.7, 40.4), ('IT', 'Italy', 0.22, 1, 12.5, 41.8), ('SE', 'Sweden', 0.25, 1, 18.6, 60.1),
  ('FI', 'Finland', 0.24, 2, 25.7, 61.9), ('PT', 'Portugal', 0.23, 0, -8.2, 39.3), ('IE', 'Ireland', 0.23, 0, -8.2, 53.4), ('GB', 'United Kingdom', 0.2, 0, -3.4, 55.3),
  ('US', 'United States', 0, -6, -95.7, 37.0), ('CA', 'Canada', 0.05, -5, -106.3, 56.1), ('JP', 'Japan', 0.1, 9, 138.2, 36.2), ('BR', 'Brazil', 0.17, -3, -51.9, -14.2),
  ('CI', E'C\u00f4te d''Ivoire', 0.18, 0, -5.5, 7.5), ('TR', E'T\u00fcrkiye', 0.2, 3, 35.2, 38.9)) AS t (code, name, vat, zone, x, y);
INSERT INTO customer (uid, mail, first_name, last_name, country, born, registered_at, last_ip, marketing, loyalty_points, preferences, password_hash, referred_by)
SELECT md5('customer ' || i)::uuid, lower(f) || '.' || i || pick('{@Example.com,@mail.test,@shop.example}', i, 3), f, l,
  pick('{DE,FR,AT,NL,PL,ES,IT,SE,FI,PT,IE,GB,US,CA,JP,BR,CI,TR}', i, 4), CASE WHEN i % 9 > 0 THEN date '1940-01-01' + noise(i, 5, 24000) END,
  timestamptz '2019-01-01 00:00Z' + noise(i, 6, 126000000) * interval '1 second', ('10.' || noise(i, 7, 256) || '.' || noise(i, 8, 256) || '.' || noise(i, 9, 256))::inet,
  i % 3 = 0, noise(i, 10, 5000), jsonb_build_object('theme', pick('{dark,light}', i, 11), 'page', 10 + noise(i, 12, 90), 'seen', jsonb_build_array(noise(i, 13, 99), NULL)),
  sha256(convert_to('password ' || i, 'UTF8')), CASE WHEN i > 100 AND i % 5 = 0 THEN 1 + noise(i, 14, 100) END
FROM (SELECT i, pick('{Anna,Björn,Chloé,David,Emre,Fatou,Grzegorz,Hélène,Ines,João,Kenji,Lena,Marek,Noor,Olivia,Paulo,Quentin,Rosa,Søren,Yuki}', i, 1) AS f,
  pick('{Müller,Dubois,García,Novak,"O''Brien",Yılmaz,Sato,"da Silva",Koné,Lindqvist,Smith,Wiśniewski,Rossi,Jansen}', i, 2) AS l FROM generate_series(1, 60000) i) p;
INSERT INTO address (customer_id, label, lines, post_code, city, country, location, valid)
SELECT 1 + (i - 1) % 60000, CASE WHEN i > 60000 THEN 'office' ELSE 'home' END, ARRAY[pick('{Hauptstraße,Rue de la Paix,Main Street,Ulica Długa,Calle Mayor}', i, 20) || ' ' || noise(i, 21, 300), CASE WHEN i % 6 = 0 THEN 'c/o "Nobody"' END],
  lpad(noise(i, 22, 99999)::text, 5, '0'), pick('{Berlin,Lyon,Wien,Utrecht,Gdańsk,Sevilla,Torino,Malmö,Oulu,Porto,Cork,Leeds}', i, 23), pick('{DE,FR,AT,NL,PL,ES,IT,SE,FI,PT,IE,GB}', i, 23),
  point(noise(i, 24, 36000) / 100.0 - 180, noise(i, 25, 18000) / 100.0 - 90), CASE WHEN i % 4 = 0 THEN daterange(date '2020-01-01' + noise(i, 26, 1000), NULL) ELSE '(,)' END
FROM generate_series(1, 80000) i;
`;

const goods = String.raw`
SET search_path = shop;
INSERT INTO category (id, parent_id, name, path, position)
SELECT i, CASE WHEN i > 8 THEN 1 + i % 8 END, 'Category ' || i, CASE WHEN i > 8 THEN '/' || 1 + i % 8 ELSE '' END || '/' || i, i % 20 FROM generate_series(1, 96) i;
INSERT INTO brand (name, founded, site, about) SELECT 'Brand ' || chr(65 + i % 26) || i, 1850 + noise(i, 30, 170), 'https://brand' || i || '.example/', CASE WHEN i % 3 > 0 THEN repeat('About brand ' || i || '. ', 20) END FROM generate_series(1, 200) i;
INSERT INTO product (sku, name, description, category_id, brand_id, price, cost, size, tags, attributes, spec, search, typical, discounts, flags, rating, active, created_at, released)
SELECT 'P' || lpad(i::text, 9, '0'), name, repeat(name || ', well made and quickly delivered. ', 1 + noise(i, 40, 12)), 1 + noise(i, 41, 96), CASE WHEN i % 11 > 0 THEN 1 + noise(i, 42, 200) END,
  price, round(price * (40 + noise(i, 43, 40)) / 100.0, 4), ROW(noise(i, 44, 900), noise(i, 45, 900), CASE WHEN i % 5 > 0 THEN noise(i, 46, 500) END, noise(i, 47, 90000) / 10.0)::measures,
  ARRAY[pick('{new,sale,eco,premium,refurbished}', i, 48), pick('{blue,red,green,black}', i, 49)], jsonb_build_object('colour', pick('{blue,red,green,black}', i, 49), 'warranty', noise(i, 50, 5), 'parts', jsonb_build_array(noise(i, 51, 9), noise(i, 52, 9))),
  CASE WHEN i % 10 = 0 THEN xmlelement(name spec, xmlattributes(i AS id), name) END, to_tsvector('simple', name), price_range(price * 0.8, price * 1.2),
  CASE WHEN i % 4 = 0 THEN price_ranges(price_range(0, 10), price_range(50, 90)) ELSE '{}' END, (noise(i, 53, 256))::bit(8), CASE WHEN i % 7 > 0 THEN noise(i, 54, 50) / 10.0 END, i % 50 > 0,
  timestamp '2018-01-01' + noise(i, 55, 150000000) * interval '1 second', CASE WHEN i % 3 > 0 THEN date '2018-01-01' + noise(i, 56, 2000) END
FROM (SELECT i, pick('{Compact,Solid,Light,Classic,Folding,Wireless,Organic}', i, 57) || ' ' || pick('{lamp,chair,kettle,bicycle,headphones,notebook,backpack,jacket,camera}', i, 58) || ' ' || i AS name, (100 + noise(i, 59, 49900)) / 100.0 AS price FROM generate_series(1, 20000) i) p;
INSERT INTO product_image (product_id, position, content, media_type, thumbnail)
SELECT i, 1, lo_from_bytea(0, (SELECT string_agg(sha256(int8send(i * 100000 + n)), '' ORDER BY n) FROM generate_series(1, 200 + noise(i, 60, 1200)) n)), pick('{image/jpeg,image/png,image/webp}', i, 61), sha512(int8send(i)) FROM generate_series(1, 150) i;
INSERT INTO warehouse SELECT i, 'Warehouse ' || i, point(i * 3, 50 - i), polygon(6, circle(point(i * 3, 50 - i), 0.5)), time '06:00', timetz '22:00+01', ('10.' || i || '.0.0/16')::cidr, ('08:00:2b:01:02:0' || i)::macaddr FROM generate_series(1, 6) i;
INSERT INTO stock SELECT p, w, noise(p * 10 + w, 70, 400), CASE WHEN p % 3 > 0 THEN noise(p, 71, 50) END, timestamptz '2024-10-01 00:00Z' + noise(p, 72, 7000000) * interval '1 second' FROM generate_series(1, 20000) p, generate_series(1, 6) w;
INSERT INTO price_history SELECT p, tstzrange(timestamptz '2021-01-01 00:00Z' + n * interval '100 days', CASE WHEN n < 2 THEN timestamptz '2021-01-01 00:00Z' + (n + 1) * interval '100 days' END), (100 + noise(p, 73 + n, 49900)) / 100.0, (ARRAY['n', 's', 'c'])[n + 1]::"char" FROM generate_series(1, 20000) p, generate_series(0, 2) n;
INSERT INTO coupon SELECT 'SAVE' || i, 5 + noise(i, 80, 60) + 1 / 3.0, tstzrange('2023-01-01 00:00Z', CASE WHEN i % 2 = 0 THEN '2025-01-01 00:00Z'::timestamptz END), noise(i, 81, 500), CASE WHEN i % 3 = 0 THEN ARRAY[i % 96 + 1, NULL, 7] END FROM generate_series(1, 60) i;
`;

const sales = String.raw`
SET search_path = shop;
INSERT INTO orders (id, placed_at, customer_id, address_id, state, history, total, coupon, channel, note, delivery_window)
SELECT i, at, customer, customer, state, (enum_range('placed'::order_state, state))[1:4], (500 + noise(i, 90, 90000)) / 100.0, CASE WHEN i % 12 = 0 THEN 'SAVE' || 1 + noise(i, 91, 60) END,
  pick('{web,app,phone,store}', i, 92), CASE WHEN i % 25 = 0 THEN E'Please ring twice,\nthen leave it at "no. ' || i || E'"\t\\ thank you' END, CASE WHEN i % 2 = 0 THEN tsrange(at::date + time '08:00', at::date + time '12:00') END
FROM (SELECT i, timestamptz '2023-01-01 00:00Z' + (i * 440 + noise(i, 93, 400)) * interval '1 second' AS at, 1 + noise(i, 94, 60000) AS customer, (enum_range(NULL::order_state))[2 + noise(i, 95, 7)] AS state FROM generate_series(1, 140000) i) o;
INSERT INTO order_item (order_id, placed_at, line, product_id, quantity, unit_price, discount, gift)
SELECT id, placed_at, line, 1 + noise(id * 4 + line, 100, 20000), 1 + noise(id * 4 + line, 101, 4), (100 + noise(id * 4 + line, 102, 40000)) / 100.0, CASE WHEN id % 8 = 0 THEN noise(id, 103, 5000) / 10000.0 END, id % 40 = 0
FROM orders, LATERAL generate_series(1, 1 + noise(id, 104, 3)) line;
INSERT INTO payment SELECT md5('payment ' || id)::uuid, id, placed_at, (enum_range(NULL::payment_kind))[1 + noise(id, 110, 5)], total, noise(id, 111, 300) / 97.0::double precision, CASE WHEN id % 15 > 0 THEN placed_at + noise(id, 112, 90000) * interval '1 second' END,
  CASE WHEN id % 3 = 0 THEN ('{ "code" : ' || noise(id, 113, 999) || ',  "text":"ok", "text":"twice" }')::json END FROM orders WHERE state NOT IN ('cart', 'cancelled');
INSERT INTO shipment (order_id, placed_at, warehouse_id, tracking, took, route, parcels)
SELECT id, placed_at, 1 + noise(id, 120, 6), upper(substr(md5('t' || id), 1, 18)), make_interval(days => noise(id, 121, 9), secs => noise(id, 122, 86400) + 0.5), CASE WHEN id % 20 = 0 THEN ('[(1,2),(' || noise(id, 123, 90) || ',4),(5,6.5)]')::path END, 1 + noise(id, 124, 2)
FROM orders WHERE state IN ('shipped', 'delivered', 'returned');
`;

const traffic = String.raw`
SET search_path = shop;
INSERT INTO review (product_id, customer_id, stars, title, body, helpful, written_at)
SELECT 1 + noise(i, 130, 20000), 1 + noise(i, 131, 60000), 1 + noise(i, 132, 5), CASE WHEN i % 3 > 0 THEN pick('{Great,"Not for me","Does what it says",Wunderbar,素晴らしい,Très bien}', i, 133) END,
  repeat(pick('{"I would buy it again. ","It broke after a week. ","Delivery was quick. 🚚 "}', i, 134), 1 + noise(i, 135, 15)), ARRAY[noise(i, 136, 50), noise(i, 137, 9)], timestamptz '2023-01-15 00:00Z' + noise(i, 138, 60000000) * interval '1 second'
FROM generate_series(1, 60000) i;
INSERT INTO visit SELECT i, timestamptz '2024-12-01 00:00Z' + i * interval '10.5 seconds', ('2001:db8::' || to_hex(noise(i, 140, 65000)))::inet, '/product/' || 1 + noise(i, 141, 20000), pick('{Firefox,Chrome,Safari,curl}', i, 142), CASE WHEN i % 30 > 0 THEN noise(i, 143, 4000) END,
  CASE WHEN i % 4 = 0 THEN jsonb_build_object('ref', 'https://example.com/?q=' || i, 'ab', i % 2 = 0, 'w', 1.10) END FROM generate_series(1, 90000) i;
INSERT INTO audit (at, what, before, after, xact) SELECT timestamptz '2024-01-01 00:00Z' + i * interval '13 minutes', pick('{price,stock,login}', i, 150), jsonb_build_object('v', noise(i, 151, 99)), jsonb_build_object('v', noise(i, 152, 99)), (i::text)::xid8 FROM generate_series(1, 30000) i;
INSERT INTO session SELECT md5('session ' || i)::uuid, i, jsonb_build_object('basket', jsonb_build_array(i, i + 1)), timestamptz '2030-01-01 00:00Z' FROM generate_series(1, 5000) i;
INSERT INTO rental_slot SELECT i % 40, tsrange(timestamp '2024-01-01' + (i / 40) * interval '3 hours', timestamp '2024-01-01' + (i / 40 + 1) * interval '3 hours'), 1 + noise(i, 160, 60000) FROM generate_series(1, 10000) i;
`;

export const shopRows: readonly ShopStep[] = [
  { label: 'a source of repeatable chance', sql: noise },
  { label: 'countries, customers and addresses', sql: people },
  { label: 'products, images, stock and prices', sql: goods },
  { label: 'orders, payments and shipments', sql: sales },
  { label: 'reviews, visits and sessions', sql: traffic },
];
