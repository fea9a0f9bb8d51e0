-- What a new desk gets asked in its first week.
INSERT INTO articles (slug, title, body) VALUES
('reset-your-password', 'Reset your password',
 E'Choose "Forgot your password?" on the sign-in page and enter the e-mail address of your account.\n\nThe link that we send works once and for one hour. No mail after five minutes? Look into the spam folder, then check that you used the address of your account: we send nothing to an address that we do not know, and we do not say so on the page.\n\nStill locked out? Write us a ticket and say when you last signed in.'),
('read-your-invoice', 'Read your invoice',
 E'Invoices are made on the first working day of a month, for the month before.\n\n- Plan: what you booked, from the day on which you booked it\n- Seats: counted on the last day of the month\n- Credits: what we owe you, from refunds and outages\n\nTo change the address on the invoice, open Settings, then Billing, before the first of the month.'),
('connect-a-printer', 'Connect a printer',
 E'Turn the printer on and put it into the same network as your computer.\n\nOpen Devices, choose Add, and wait until the printer shows up. If it does not, turn off the guest mode of your router: guests may not see each other, and that includes printers.'),
('export-your-data', 'Export your data',
 E'Everything that you gave us is yours. Open Settings, then Export, and choose CSV or JSON.\n\nLarge accounts take up to an hour. We write to you when the archive is there; it stays for seven days.'),
('answer-times', 'How fast we answer',
 E'We answer within one hour on working days from 9:00 to 18:00. Emergencies are taken at any hour: choose the priority "high" and say what has stopped working, since when, and for how many people.');
