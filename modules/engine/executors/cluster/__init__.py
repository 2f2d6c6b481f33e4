"""Workers in processes of their own, on this machine or others, which Ray starts and reaches."""
