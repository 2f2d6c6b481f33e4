"""The PNG Info tab: metadata of an image file, sent to a form or reproduced and compared."""
