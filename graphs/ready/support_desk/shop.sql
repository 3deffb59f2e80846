-- The support desk's facts: a small shop for kitchen machines. Amounts are US dollars.
CREATE TABLE products (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL, price REAL NOT NULL, warranty_months INTEGER NOT NULL,
    in_stock INTEGER NOT NULL
);
INSERT INTO products VALUES
    ('KET-1', 'Arbor kettle', 49.00, 24, 31),
    ('GRI-2', 'Mahlwerk coffee grinder', 129.00, 24, 4),
    ('ESP-3', 'Ristretto espresso machine', 389.00, 36, 0),
    ('BLE-4', 'Nimbus blender', 89.00, 24, 17),
    ('TOA-5', 'Golden toaster', 59.00, 12, 22),
    ('SCA-6', 'Gram kitchen scale', 25.00, 12, 58);

CREATE TABLE orders (
    number TEXT PRIMARY KEY, customer TEXT NOT NULL, sku TEXT NOT NULL REFERENCES products,
    quantity INTEGER NOT NULL, status TEXT NOT NULL, ordered_on TEXT NOT NULL, shipped_on TEXT
);
INSERT INTO orders VALUES
    ('SG-1042', 'Maya Lindqvist', 'KET-1', 1, 'delivered', '2026-10-02', '2026-10-03'),
    ('SG-1043', 'Tom Adeyemi',    'ESP-3', 1, 'waiting for stock', '2026-10-28', NULL),
    ('SG-1044', 'Ines Carvalho',  'BLE-4', 2, 'shipped', '2026-11-03', '2026-11-04'),
    ('SG-1045', 'Pavel Novak',    'GRI-2', 1, 'delivered', '2026-09-15', '2026-09-16'),
    ('SG-1046', 'Aiko Tanaka',    'TOA-5', 1, 'cancelled', '2026-11-01', NULL),
    ('SG-1047', 'Lena Hofmann',   'SCA-6', 3, 'delivered', '2026-10-20', '2026-10-21'),
    ('SG-1048', 'Omar Haddad',    'ESP-3', 1, 'delivered', '2025-12-01', '2025-12-02'),
    ('SG-1049', 'Ruth Okafor',    'BLE-4', 1, 'delivered', '2026-10-30', '2026-10-31'),
    ('SG-1050', 'Noor Bakker',    'GRI-2', 1, 'delivered', '2026-11-05', '2026-11-06');

CREATE TABLE payments (
    number TEXT NOT NULL REFERENCES orders, charged_on TEXT NOT NULL, amount REAL NOT NULL, kind TEXT NOT NULL
);
INSERT INTO payments VALUES
    ('SG-1042', '2026-10-02', 49.00, 'charge'),
    ('SG-1042', '2026-10-02', 49.00, 'charge'),
    ('SG-1043', '2026-10-28', 389.00, 'charge'),
    ('SG-1044', '2026-11-03', 178.00, 'charge'),
    ('SG-1045', '2026-09-15', 129.00, 'charge'),
    ('SG-1046', '2026-11-01', 59.00, 'charge'),
    ('SG-1046', '2026-11-02', 59.00, 'refund'),
    ('SG-1047', '2026-10-20', 75.00, 'charge'),
    ('SG-1048', '2025-12-01', 389.00, 'charge'),
    ('SG-1049', '2026-10-30', 89.00, 'charge'),
    ('SG-1050', '2026-11-05', 129.00, 'charge'),
    ('SG-1050', '2026-11-05', 129.00, 'charge');

CREATE VIRTUAL TABLE articles USING fts5 (title, body, tokenize = 'porter');
INSERT INTO articles VALUES
    ('The kettle does not switch on', 'Put the kettle back on its base and press the lever until it clicks. If the light stays off, try another socket.'),
    ('The grinder is blocked or hums', 'Unplug the grinder, empty the hopper, turn the burr to the coarsest setting and brush out the old coffee.'),
    ('The espresso machine leaks or drips', 'Unplug the machine, take out the filter holder and clean the seal. Descale it if water still drips.'),
    ('The espresso machine shows an error light', 'A blinking light means the water tank is not seated. Take the tank out, fill it and press it in firmly.'),
    ('The blender smells or stops', 'The blender stops itself when it is too hot. Let it rest for twenty minutes and fill it less.'),
    ('The toaster does not stay down', 'The lever holds only while the toaster is plugged in. Empty the crumb tray if it still jumps up.'),
    ('The scale shows wrong weights', 'Press zero on an empty scale that stands on a flat, hard surface. Replace the battery if the numbers jump.'),
    ('Delivery times and costs', 'We deliver within 2 to 4 working days. Delivery is free above 40 dollars.'),
    ('Returns', 'You can return any machine within 30 days in its box. The return label is in your account.'),
    ('Opening hours', 'Our shop in the harbour is open Monday to Friday from 9 to 18 and on Saturday from 10 to 14.'),
    ('Gift cards', 'Gift cards are sent by e-mail and are valid for three years.'),
    ('Where we deliver', 'We deliver to all countries of Europe, and not yet to other continents.'),
    ('Jobs', 'We look for people in the repair shop. Write to us with your papers.');
