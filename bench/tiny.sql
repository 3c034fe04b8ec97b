-- Two transactions of one row each: without BEGIN every statement is its own.
\set id random(1, 100000)
INSERT INTO events (account, amount, note) VALUES (:id, :id % 500, 'of ' || :id);
UPDATE accounts SET balance = balance + 1, touched = now() WHERE id = :id;
